//! Tests that SQL files cannot express: processes, files, the terminal.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod clients;
mod cluster;
mod csv;
mod cycles;
mod data_dir;
mod draws;
mod examples;
mod far_dates;
mod files;
mod inserts;
mod lossy_store;
mod lost_replies;
mod memory;
mod missing_files;
mod packaging;
mod server;
mod shell;
mod store;
mod terminal;
mod tidy;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The lock of tests that are slow or use all cores; they run one at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

thread_local! {
    static TURN: std::cell::RefCell<Option<tokio::sync::MutexGuard<'static, ()>>> =
        const { std::cell::RefCell::new(None) };
}

/// Waits for the turn of this test; the turn ends with the thread of the test.
fn take_turn() {
    TURN.with_borrow_mut(|turn| {
        while turn.is_none() {
            *turn = ALONE.try_lock().ok();
            if turn.is_none() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    });
}

/// Ends the turn of this test, which only waits from now on.
fn end_turn() {
    drop(TURN.take());
}

/// Prints why a test is skipped. It bypasses the harness, which would hide the message.
fn say(what: &str) {
    let mut terminal = std::io::stderr();
    std::io::Write::write_all(&mut terminal, what.as_bytes()).unwrap();
}

/// The first line on the piped standard output of a process.
fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// A process that is killed when its test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program with a data directory, from the root of the repository.
fn vatic(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vatic"));
    command
        .arg("--data-dir")
        .arg(data)
        .env_remove("VATIC_DATA_DIR")
        .stdin(Stdio::null());
    command
}

/// Runs statements and returns their output.
fn run(data: &Path, statements: &[&str]) -> Output {
    let mut command = vatic(data);
    command.args(["--format", "csv"]);
    for statement in statements {
        command.args(["-c", statement]);
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs statements that must succeed and returns their rows without headers.
fn rows(data: &Path, statement: &str) -> Vec<String> {
    let output = run(data, &[statement]);
    assert!(
        output.status.success(),
        "{statement}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
        .lines()
        .skip(1)
        .map(str::to_owned)
        .collect()
}

/// Runs statements, the last of which must fail with this exit code, and returns the error.
fn fails(data: &Path, statements: &[&str], code: i32) -> String {
    let output = run(data, statements);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{statements:?}: {}",
        text(&output.stderr)
    );
    text(&output.stderr)
}

const HOUSES: &str =
    "CREATE TABLE houses AS SELECT value AS area, value * 3 AS price FROM generate_series(1, 100)";
const TRAIN: &str =
    "TRAIN MODEL price TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses";
const GUESS: &str = "SELECT round(predicted_price) FROM predict(price, (SELECT 10 AS area))";
/// A training that takes some seconds.
const LONG: &str = "TRAIN MODEL long TARGET price OPTIONS (model_type = 'dnn_regressor', epochs = 100000, \
                    early_stop = false, batch_size = 8) AS SELECT * FROM houses";
