//! The web page: its content, who may see it, and the page in a real browser.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{PASSWORD, Server, column, connect, runtime, users};
use crate::text;

/// A port that was free a moment ago.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The answer to a request, head and body.
fn get(address: &str, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    text(&answer)
}

fn basic(user: &str) -> String {
    format!(
        "Authorization: Basic {}\r\n",
        STANDARD.encode(format!("{user}:{PASSWORD}"))
    )
}

const TABLE: &str =
    "CREATE TABLE \"<b>\" AS SELECT value * 1.0 AS x, value % 3 AS y FROM generate_series(1, 300)";
const TRAIN: &str = "TRAIN MODEL m TARGET y OPTIONS (model_type = 'dnn_classifier', hidden_units = [8], epochs = 5, \
                     early_stop = false) AS SELECT * FROM \"<b>\"";

#[test]
fn the_page_shows_what_its_reader_may_see() {
    let (_directory, file) = users();
    let address = free_address();
    let server = Server::start(&["--users", &file, "--http", &address]);
    for headers in [
        String::new(),
        basic("eve"),
        "Authorization: Bearer x\r\n".to_owned(),
    ] {
        let answer = get(&address, "/", &headers);
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(!answer.contains("<h1>"));
    }
    runtime().block_on(async {
        let ada = connect(&server, "ada", PASSWORD).await.unwrap();
        column(&ada, TABLE).await;
        column(&ada, TRAIN).await;
        // A running statement.
        let endless = "SELECT count(*) AS \"<i>\" FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
        let rows = ada.sql(endless).await.unwrap();
        let answer = get(&address, "/", &basic("ada"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        for part in ["dnn_classifier", "SUCCEEDED", "<polyline", "after 5 epochs", "count(*) AS &quot;&lt;i&gt;&quot;"] {
            assert!(answer.contains(part), "{part}: {answer}");
        }
        assert!(!answer.contains("<i>") && !answer.contains("<b>"));
        let answer = get(&address, "/", &basic("bob"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        for part in ["dnn_classifier", "SUCCEEDED", "<polyline", "&lt;i&gt;"] {
            assert!(!answer.contains(part), "{part}: {answer}");
        }
        assert!(get(&address, "/", &basic("root")).contains("&lt;i&gt;"));
        drop(rows);
    });
    assert!(get(&address, "/../etc/passwd", &basic("root")).starts_with("HTTP/1.1 404"));
}

#[test]
fn the_page_works_in_a_browser() {
    let found = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| {
            Command::new(name)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok()
        });
    let Some(browser) = found else {
        let skipped = b"skipped: there is no chromium to look at the page with\n";
        return std::io::stderr().write_all(skipped).unwrap();
    };
    let address = free_address();
    let server = Server::start(&["--http", &address]);
    runtime().block_on(async {
        let remote = server.connect().await;
        column(&remote, TABLE).await;
        column(&remote, TRAIN).await;
    });
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{address}/"))
        .output()
        .unwrap();
    let dom = text(&output.stdout);
    // The document as the browser built it: complete rows, and a picture.
    assert!(
        dom.contains("<td>m</td>") && dom.contains("</polyline>"),
        "{dom}"
    );
}
