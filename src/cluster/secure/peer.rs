//! [`PeerStream`]: a connection of two ranks, on which one thread sends while another receives.
//!
//! ```text
//! sending thread:    lock sending   ▶ lock connection: encrypt ▶ unlock ▶ write to the network
//! receiving thread:  lock receiving ▶ read from the network ▶ lock connection: decrypt ▶ unlock
//! ```
//! A connection of TLS is one object for both directions, but it does no I/O. No thread waits for the network while it
//! holds the connection, so two ranks that send each other more than the system buffers do not wait for each other.

use std::fmt;
use std::io::{Error, ErrorKind, IoSlice, Read, Result, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_rustls::rustls::{ClientConnection, Connection, ServerConnection};

use super::identity::Identity;

/// How much is encrypted, and read from the network, at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A connection of two ranks, with or without TLS.
pub(in crate::cluster) struct PeerStream {
    socket: TcpStream,
    tls: Option<Tls>,
}

struct Tls {
    connection: Mutex<Connection>,
    /// Encrypted bytes that leave; held until they have left, so that they keep the order of their encryption.
    sending: Mutex<Vec<u8>>,
    receiving: Mutex<Received>,
}

/// Encrypted bytes that arrived.
struct Received {
    buffer: Vec<u8>,
    unread: Range<usize>,
}

impl fmt::Debug for PeerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerStream")
            .field("socket", &self.socket)
            .field("is_encrypted", &self.tls.is_some())
            .finish()
    }
}

impl PeerStream {
    /// Encrypts the connecting side, if there is a secret.
    pub(super) fn connect(identity: Option<&Identity>, socket: TcpStream) -> Result<Self> {
        let Some(identity) = identity else {
            return Ok(Self { socket, tls: None });
        };
        let connection = ClientConnection::new(identity.client(), identity.name());
        Self::encrypted(
            socket,
            Connection::Client(connection.map_err(Error::other)?),
        )
    }

    /// Encrypts the accepting side, if there is a secret.
    pub(super) fn accept(identity: Option<&Identity>, socket: TcpStream) -> Result<Self> {
        let Some(identity) = identity else {
            return Ok(Self { socket, tls: None });
        };
        let connection = ServerConnection::new(identity.server());
        Self::encrypted(
            socket,
            Connection::Server(connection.map_err(Error::other)?),
        )
    }

    /// Shakes hands, as long as the timeout of the socket allows.
    fn encrypted(socket: TcpStream, mut connection: Connection) -> Result<Self> {
        connection.set_buffer_limit(Some(BUFFER_BYTES));
        while connection.is_handshaking() {
            connection.complete_io(&mut &socket)?;
        }
        let tls = Tls {
            connection: Mutex::new(connection),
            sending: Mutex::default(),
            receiving: Mutex::new(Received {
                buffer: vec![0; BUFFER_BYTES],
                unread: 0..0,
            }),
        };
        let tls = Some(tls);
        Ok(Self { socket, tls })
    }

    /// The socket, to set its options and to end it; its bytes may be encrypted.
    pub(in crate::cluster) fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

impl Read for &PeerStream {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        match &self.tls {
            Some(tls) => tls.read(&self.socket, bytes),
            None => (&self.socket).read(bytes),
        }
    }
}

impl Write for &PeerStream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        match &self.tls {
            Some(tls) => tls.write(&self.socket, slices),
            None => (&self.socket).write_vectored(slices),
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Tls {
    fn read(&self, mut socket: &TcpStream, bytes: &mut [u8]) -> Result<usize> {
        let mut received = lock(&self.receiving);
        let Received { buffer, unread } = &mut *received;
        loop {
            let mut connection = lock(&self.connection);
            loop {
                match connection.reader().read(bytes) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    read => return read,
                }
                if Range::is_empty(unread) {
                    break;
                }
                let mut encrypted = &buffer[unread.clone()];
                unread.start += connection.read_tls(&mut encrypted)?;
                let processed = connection.process_new_packets();
                processed.map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
            }
            drop(connection);
            *unread = 0..socket.read(buffer)?;
            if Range::is_empty(unread) {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn write(&self, mut socket: &TcpStream, slices: &[IoSlice<'_>]) -> Result<usize> {
        let mut encrypted = lock(&self.sending);
        encrypted.clear();
        let mut connection = lock(&self.connection);
        let written = connection.writer().write_vectored(slices)?;
        while connection.wants_write() {
            connection.write_tls(&mut *encrypted)?;
        }
        drop(connection);
        socket.write_all(&encrypted)?;
        Ok(written)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::secret::Secret;
    use super::*;

    /// More than two sockets of the loopback device buffer.
    const MANY_BYTES: usize = 32 << 20;

    fn identity(secret: &str) -> Identity {
        Identity::new(&Secret::new(secret.as_bytes())).unwrap()
    }

    /// Both ends of a connection whose sides have these secrets.
    fn pair(connecting: Option<&str>, accepting: Option<&str>) -> [Result<PeerStream>; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connecting = connecting.map(identity);
        let accepting = accepting.map(identity);
        std::thread::scope(|scope| {
            let connected = scope.spawn(move || {
                let socket = TcpStream::connect(address).unwrap();
                PeerStream::connect(connecting.as_ref(), socket)
            });
            let (socket, _) = listener.accept().unwrap();
            let accepted = PeerStream::accept(accepting.as_ref(), socket);
            [connected.join().unwrap(), accepted]
        })
    }

    #[test]
    fn both_sides_send_more_than_the_system_buffers_at_once() {
        for secret in [None, Some("one")] {
            let [one, other] = pair(secret, secret).map(Result::unwrap);
            let sides = [(&one, 1), (&other, 2)];
            std::thread::scope(|scope| {
                for (mut side, byte) in sides {
                    scope.spawn(move || side.write_all(&vec![byte; MANY_BYTES]).unwrap());
                }
                for (mut side, byte) in sides {
                    scope.spawn(move || {
                        let mut received = vec![0; MANY_BYTES];
                        side.read_exact(&mut received).unwrap();
                        assert!(received.iter().all(|found| *found == 3 - byte));
                    });
                }
            });
        }
    }

    #[test]
    fn slices_arrive_in_their_order() {
        let [one, other] = pair(Some("one"), Some("one")).map(Result::unwrap);
        let slices = [&b"ab"[..], b"", b"cde"].map(IoSlice::new);
        assert_eq!((&one).write_vectored(&slices).unwrap(), 5);
        let mut received = [0; 5];
        (&other).read_exact(&mut received).unwrap();
        assert_eq!(&received, b"abcde");
    }

    #[test]
    fn a_side_with_another_secret_is_refused() {
        let [one, other] = pair(Some("one"), Some("other"));
        assert!(one.is_err() && other.is_err());
    }

    #[test]
    fn a_connection_that_ends_is_an_error_for_both_directions() {
        let [one, other] = pair(Some("one"), Some("one")).map(Result::unwrap);
        one.socket().shutdown(std::net::Shutdown::Both).unwrap();
        assert!((&one).read_exact(&mut [0]).is_err());
        assert!((&other).read_exact(&mut [0]).is_err());
        assert!((&one).write_all(&[0]).is_err());
    }
}
