//! The web page: its content, who may see it, what acts, and the page in a real browser.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{PASSWORD, Server, column, connect, runtime, users};
use crate::text;

/// A port that was free a moment ago.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The answer to a request, head and body.
fn send(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    text(&answer)
}

fn get(address: &str, path: &str, headers: &str) -> String {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    send(address, &request)
}

/// Sends a form.
fn post(address: &str, path: &str, headers: &str, fields: &[(&str, &str)]) -> String {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(fields);
    let body = body.finish();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    send(address, &request)
}

fn basic(user: &str) -> String {
    format!(
        "Authorization: Basic {}\r\n",
        STANDARD.encode(format!("{user}:{PASSWORD}"))
    )
}

/// The text between two others.
#[track_caller]
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("{before}: {text}"));
    rest.split_once(after).unwrap().0
}

/// The headers and the token of a reader who has loaded the editor.
fn reader(address: &str, headers: &str) -> (String, String) {
    let page = get(address, "/sql", headers);
    let cookie = between(&page, "set-cookie: ", ";").to_owned();
    let token = between(&page, "name=\"token\" value=\"", "\"").to_owned();
    (format!("{headers}Cookie: {cookie}\r\n"), token)
}

const TABLE: &str =
    "CREATE TABLE \"<u>\" AS SELECT value * 1.0 AS x, value % 3 AS y FROM generate_series(1, 300)";
const TRAIN: &str = "TRAIN MODEL m TARGET y OPTIONS (model_type = 'dnn_classifier', hidden_units = [8], epochs = 5, \
                     early_stop = false) AS SELECT * FROM \"<u>\"";
const ENDLESS: &str =
    "SELECT count(*) AS \"<i>\" FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";

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
    let (ada, bob) = (basic("ada"), basic("bob"));
    runtime().block_on(async {
        let connection = connect(&server, "ada", PASSWORD).await.unwrap();
        column(&connection, TABLE).await;
        column(&connection, TRAIN).await;
        // A running statement.
        let rows = connection.sql(ENDLESS).await.unwrap();
        let answer = get(&address, "/", &ada);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        for part in [
            "state SUCCEEDED",
            "count(*) AS &quot;&lt;i&gt;&quot;",
            "accuracy ",
        ] {
            assert!(answer.contains(part), "{part}: {answer}");
        }
        assert!(!answer.contains("<i>") && !answer.contains("<u>"));
        let id = between(&answer, "/run?id=", "\"").to_owned();
        for (path, parts) in [
            (
                "/runs?status=succeeded&find=hidden",
                &["/run?id=", "selected>succeeded"][..],
            ),
            (
                &format!("/run?id={id}"),
                &[
                    "data-values=\"1,",
                    "<dt>hidden_units</dt><dd>[8]</dd>",
                    "FROM &quot;&lt;u&gt;&quot;",
                ],
            ),
            (
                &format!("/compare?run={id}&version=m@1"),
                &["m@1 train", "m@1 eval", "<td>accuracy (eval)</td>"],
            ),
            ("/models", &["/model?model=m", "dnn_classifier"]),
            (
                "/models?sort=created&down=1",
                &["/model?model=m", "created ↓"],
            ),
            ("/tables?sort=columns", &["%3Cu%3E", "columns ↑"]),
            ("/runs?sort=loss&down=1", &["/run?id=", "loss ↓"]),
            ("/model?model=m", &["/version?model=m%401", "accuracy "]),
            (
                "/version?model=m@1",
                &["predicted_y", "<dt>classes</dt><dd>0, 1, 2</dd>"],
            ),
            (
                "/tables?find=u",
                &["schema=public&amp;name=%3Cu%3E", "base table"],
            ),
            (
                "/table?schema=public&name=%3Cu%3E",
                &["<td>Float64</td>", "Profile"],
            ),
            (
                "/names",
                &["\"<u>\":[\"x\",\"y\"]", "\"models\":[\"m\"]", "model_type"],
            ),
        ] {
            let answer = get(&address, path, &ada);
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
            for part in parts {
                assert!(answer.contains(part), "{path}, {part}: {answer}");
            }
            assert!(
                path == "/names" || !answer.contains("<u>"),
                "{path}: {answer}"
            );
            assert!(
                answer.contains("content-security-policy: default-src 'none'; script-src 'self'")
            );
            assert!(!answer.contains("style=\""), "{path}: {answer}");
        }
        assert!(!get(&address, "/runs?find=nothing", &ada).contains("/run?id="));
        // Another user sees none of it, an administrator the running statement.
        for path in ["/", "/runs", "/models", "/tables", "/names"] {
            let answer = get(&address, path, &bob);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            for part in [
                "dnn_classifier",
                "SUCCEEDED",
                "&lt;i&gt;",
                "%3Cu%3E",
                "\"models\":[\"m\"",
            ] {
                assert!(!answer.contains(part), "{path}, {part}: {answer}");
            }
        }
        for path in [
            "/model?model=m",
            &format!("/run?id={id}"),
            "/version?model=m@1",
            "/table?schema=public&name=%3Cu%3E",
        ] {
            let answer = get(&address, path, &bob);
            assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        }
        assert!(get(&address, "/", &basic("root")).contains("&lt;i&gt;"));
        drop(rows);
    });
    for path in ["/../etc/passwd", "/nothing", "/page.rs"] {
        let answer = get(&address, path, &basic("root"));
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
    assert!(get(&address, "/page.js", "").contains("text/javascript"));
}

#[test]
fn what_acts_needs_the_token_of_its_reader() {
    let (_directory, file) = users();
    let address = free_address();
    let server = Server::start(&["--users", &file, "--http", &address]);
    let (ada, token) = reader(&address, &basic("ada"));
    let (bob, of_bob) = reader(&address, &basic("bob"));
    let create = ("sql", "CREATE TABLE made AS SELECT 1 AS one");
    for (headers, token) in [
        (&ada, ""),
        (&ada, "x"),
        (&ada, of_bob.as_str()),
        // Without the cookie.
        (&basic("ada"), token.as_str()),
    ] {
        let answer = post(&address, "/sql", headers, &[("token", token), create]);
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    assert!(
        get(
            &address,
            "/sql?sql=CREATE+TABLE+made+AS+SELECT+1+AS+one",
            &ada
        )
        .contains("CREATE TABLE made")
    );
    runtime().block_on(async {
        let connection = connect(&server, "root", PASSWORD).await.unwrap();
        let made = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'made'";
        assert_eq!(column(&connection, made).await, ["0"]);
        let run = |fields: &[(&str, &str)]| {
            let own = [("token", token.as_str())];
            post(&address, "/sql", &ada, &[&own[..], fields].concat())
        };
        assert!(run(&[create]).contains("<h2>Done<small>"));
        assert_eq!(column(&connection, made).await, ["1"]);
        assert!(run(&[("sql", "INSERT INTO made VALUES (2)")]).contains("1 row changed"));
        // Statements share a session, and an error ends them.
        let script = "CREATE TEMPORARY TABLE own AS SELECT 2 AS two; SELECT '<i>' AS t, two FROM own; SELECT * FROM mad; SELECT 3";
        let answer = run(&[("sql", script)]);
        assert!(answer.contains("<td class=\"\">&lt;i&gt;</td><td class=\"n\">2</td>"), "{answer}");
        assert!(answer.contains("the nearest name is &quot;made&quot;"), "{answer}");
        assert_eq!(answer.matches("data-plots").count(), 1, "{answer}");
        assert!(run(&[("sql", "SELECT two FROM own")]).contains("<td class=\"n\">2</td>"));
        assert!(run(&[("sql", "SELECT * FROM generate_series(1, 5000)")]).contains("The first 1000 rows"));
        // A running statement is cancelled by its user only.
        let rows = connect(&server, "ada", PASSWORD).await.unwrap();
        let rows = rows.sql(ENDLESS).await.unwrap();
        let handle = between(&get(&address, "/", &ada), "name=\"statement\" value=\"", "\"").to_owned();
        let fields = |token| [("token", token), ("statement", handle.as_str()), ("back", "//evil.example")];
        let answer = post(&address, "/cancel", &bob, &fields(of_bob.as_str()));
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        let answer = post(&address, "/cancel", &ada, &fields(token.as_str()));
        assert!(answer.contains("location: /\r\n"), "{answer}");
        let ended = futures::TryStreamExt::try_collect::<Vec<_>>(rows).await;
        assert!(ended.unwrap_err().to_string().contains("cancelled"));
    });
}

#[test]
fn a_version_is_judged_and_a_table_profiled() {
    let address = free_address();
    let server = Server::start(&["--http", &address]);
    runtime().block_on(async {
        let remote = server.connect().await;
        column(&remote, TABLE).await;
        column(&remote, TRAIN).await;
    });
    let (headers, token) = reader(&address, "");
    let judge = |rows: &str| {
        let fields = [("token", token.as_str()), ("model", "m@1"), ("rows", rows)];
        post(&address, "/version", &headers, &fields)
    };
    for rows in ["", "\"<u>\"", "SELECT * FROM \"<u>\"; "] {
        let answer = judge(rows);
        for part in [
            "class=\"matrix\"",
            "of 300 rows are right",
            "data-x=\"false positive rate\"",
            "data-x=\"predicted probability\"",
        ] {
            assert!(answer.contains(part), "{rows}, {part}: {answer}");
        }
        let metrics = between(&answer, "Metrics on these rows", "</section>");
        let mut cells = metrics.split(['<', '>']);
        let is_long = |cell: &str| {
            let fraction = cell.split_once('.');
            fraction.is_some_and(|(_, digits)| digits.len() > 8)
        };
        assert!(!cells.any(is_long), "{metrics}");
    }
    assert!(judge("nowhere").contains("class=\"error\">table &quot;nowhere&quot;"));
    let fields = [
        ("token", token.as_str()),
        ("schema", "public"),
        ("name", "<u>"),
    ];
    let answer = post(&address, "/table", &headers, &fields);
    for part in [
        "<td>y</td><td>Int64</td>",
        "<p class=\"note\">300 rows</p>",
        "data-plots",
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
}

/// Whether two ports in a row were free a moment ago, and the first one.
fn free_ports() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

#[test]
fn the_page_is_beside_the_server_and_answers_to_no_foreign_name() {
    let port = free_ports();
    let listen = format!("127.0.0.1:{port}");
    let beside = format!("127.0.0.1:{}", port + 1);
    let server = Server::start(&["--listen", &listen]);
    assert!(get(&beside, "/", "").starts_with("HTTP/1.1 200"));
    let request =
        |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert!(send(&beside, &request("localhost")).starts_with("HTTP/1.1 200"));
    for host in ["evil.example", "127.0.0.1.evil.example:80"] {
        let answer = send(&beside, &request(host));
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    drop(server);
    let _off = Server::start(&["--listen", &listen, "--http", "off"]);
    assert!(TcpStream::connect(&beside).is_err());
}

/// The program of a browser, if there is one.
fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| {
        Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok()
    })
}

#[test]
fn every_page_works_in_a_browser() {
    let Some(browser) = browser() else {
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
    let id = between(&get(&address, "/runs", ""), "/run?id=", "\"").to_owned();
    let profile = tempfile::tempdir().unwrap();
    // A picture, or what the script adds, in each page as the browser built it.
    for (path, part) in [
        ("/", "<time datetime="),
        ("/runs", "title=\"20"),
        (&format!("/run?id={id}"), "<div class=\"tip\""),
        (&format!("/compare?run={id}"), "</polyline>"),
        ("/models", "data-filters=\"list\""),
        ("/model?model=m", "<td class=\"n\">240</td>"),
        ("/version?model=m@1", "<ul class=\"hints\""),
        ("/tables", "&lt;u&gt;</a>"),
        ("/table?schema=public&name=%3Cu%3E", "<div id=\"profile\">"),
        (
            "/sql?sql=SELECT+1",
            "SELECT 1</textarea><ul class=\"hints\"",
        ),
    ] {
        let output = Command::new(browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--enable-logging=stderr",
            ])
            .args([
                "--no-proxy-server",
                "--virtual-time-budget=1000",
                "--dump-dom",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://{address}{path}"))
            .output()
            .unwrap();
        let (dom, log) = (text(&output.stdout), text(&output.stderr));
        assert!(dom.contains(part), "{path}, {part}: {dom}\n{log}");
        // The browser logs what the policy refuses, and errors of the script.
        let complaints = ["Content Security Policy", "Uncaught"];
        let said = complaints.iter().any(|complaint| log.contains(complaint));
        assert!(!said, "{path}: {log}");
    }
}
