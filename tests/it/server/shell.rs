//! The shell with a server: the same answers, errors and exit codes as with an embedded engine.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{Server, runtime, user};
use crate::text;

fn shell(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vatic"));
    command
        .args(["--connect", url])
        .args(arguments)
        .env_remove("VATIC_DATA_DIR")
        .env_remove("VATIC_PASSWORD")
        .stdin(Stdio::null());
    command
}

fn run(url: &str, arguments: &[&str]) -> Output {
    shell(url, arguments).output().unwrap()
}

#[test]
fn a_script_runs_on_a_server() {
    let server = Server::start(&[]);
    let output = run(
        &server.url,
        &[
            "--format",
            "csv",
            "-c",
            "CREATE TABLE t AS SELECT value AS a FROM generate_series(1, 3); INSERT INTO t VALUES (9)",
            "-c",
            "SELECT sum(a) AS s FROM t; \\dt",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let out = text(&output.stdout);
    assert!(out.starts_with("count\n1\ns\n15\n"), "{out}");
    assert!(out.contains("public,t"), "{out}");
    let output = run(&server.url, &["-c", "SELECT nope FROM t"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("error[42703]"), "{said}");
    assert!(
        said.contains("LINE 1: SELECT nope FROM t\n               ^"),
        "{said}"
    );
    let output = run(&server.url, &["-c", "\\conninfo"]);
    assert!(text(&output.stdout).contains(&server.url));
}

#[test]
fn a_training_on_a_server_is_interrupted() {
    let server = Server::start(&[]);
    let train = "CREATE TABLE xs AS SELECT value * 1.0 AS x, value % 3 AS y FROM generate_series(1, 500); \
                 TRAIN MODEL m TARGET y OPTIONS (model_type = 'dnn_classifier', epochs = 1000000, early_stop = false) \
                 AS SELECT * FROM xs";
    let child = shell(&server.url, &["--progress", "always", "-c", train])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let status = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
    let began = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("57014"));
    runtime().block_on(async {
        assert!(server.is_idle_within(Duration::from_secs(2)).await);
    });
}

#[test]
fn a_server_that_is_not_there_is_said_at_once() {
    for (url, expected) in [
        ("grpc://127.0.0.1:1", "cannot be reached"),
        ("grpc://256.0.0.1:1", "grpc://256.0.0.1:1"),
        ("http://127.0.0.1:1", "not a supported scheme"),
        ("127.0.0.1:1", "grpc://localhost:31337"),
    ] {
        let began = Instant::now();
        let output = run(url, &["-c", "SELECT 1"]);
        assert_eq!(output.status.code(), Some(2), "{url}");
        assert!(
            text(&output.stderr).contains(expected),
            "{}",
            text(&output.stderr)
        );
        assert!(began.elapsed() < Duration::from_secs(7));
    }
}

#[test]
fn the_shell_logs_in() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory
        .path()
        .join("users.toml")
        .to_string_lossy()
        .into_owned();
    user(&["add", "--users", &file, "ada"], "secret\n");
    let (_, token) = user(&["token", "--users", &file, "ada"], "");
    let token_file = directory.path().join("token");
    std::fs::write(&token_file, format!("{token}\n")).unwrap();
    let token_file = token_file.to_string_lossy().into_owned();
    let server = Server::start(&["--users", &file]);
    let select = ["-c", "SELECT 1"];
    let with_password = |password: &str| {
        let mut command = shell(&server.url, &[&["--user", "ada"], &select[..]].concat());
        command.env("VATIC_PASSWORD", password).output().unwrap()
    };
    assert_eq!(with_password("secret").status.code(), Some(0));
    let output = with_password("wrong");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("user or password is wrong"));
    let output = run(
        &server.url,
        &[&["--token-file", &token_file], &select[..]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(run(&server.url, &select).status.code(), Some(2));
}
