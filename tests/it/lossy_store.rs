//! [`LossyStore`]: a proxy before a store that loses replies. The store does what each request asks for.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a client gets in place of a reply: an end, after which it tries again; an error that asks it to try again; and no HTTP,
/// after which it gives up.
const INSTEAD: [&[u8]; 3] = [
    b"",
    b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"lost\r\n\r\n",
];

/// A proxy that ends with the process of the test.
pub(crate) struct LossyStore {
    pub(crate) endpoint: String,
    lost: Arc<Mutex<HashSet<String>>>,
}

impl LossyStore {
    /// Loses the reply to the first creation of each file in a store.
    pub(crate) fn before(endpoint: &str) -> Self {
        let store = endpoint.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let lost: Arc<Mutex<HashSet<String>>> = Arc::default();
        let files = Arc::clone(&lost);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, store, files) = (client.unwrap(), store.clone(), Arc::clone(&files));
                // A client may leave at any time.
                thread::spawn(move || answer(&client, &store, &files).ok());
            }
        });
        Self { endpoint, lost }
    }

    /// The number of files whose creation got no reply.
    pub(crate) fn lost(&self) -> usize {
        self.lost.lock().unwrap().len()
    }
}

/// Passes one request on, and its reply back, unless that is lost.
fn answer(mut client: &TcpStream, store: &str, lost: &Mutex<HashSet<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let value_of = |wanted: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        let field = fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        field.map(|(_, value)| value.trim())
    };
    let length = value_of("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (first, fields) = head.split_once("\r\n").unwrap();
    let mut inside = TcpStream::connect(store)?;
    write!(inside, "{first}\r\nConnection: close\r\n{fields}")?;
    inside.write_all(&body)?;
    let mut reply = Vec::new();
    inside.read_to_end(&mut reply)?;
    if value_of("if-none-match") == Some("*") {
        let mut lost = lost.lock().unwrap();
        let count = lost.len();
        if lost.insert(first.to_owned()) {
            return client.write_all(INSTEAD[count % INSTEAD.len()]);
        }
    }
    client.write_all(&reply)
}
