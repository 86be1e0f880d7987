//! The command line: scripts, their output, commands, arguments and signals.

mod arguments;
mod commands;
mod output;
mod signals;
mod sources;

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::{text, vatic};

fn memory() -> &'static Path {
    Path::new(":memory:")
}

fn pipe(input: &[u8], arguments: &[&str]) -> Output {
    let mut child = vatic(memory())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Runs a script from standard input with these flags; returns standard output, standard error and the exit code.
fn script(script: &str, arguments: &[&str]) -> (String, String, i32) {
    let mut command = assert_cmd::Command::from_std(vatic(memory()));
    let output = command
        .args(arguments)
        .write_stdin(script)
        .output()
        .unwrap();
    let code = output.status.code().unwrap_or(-1);
    (text(&output.stdout), text(&output.stderr), code)
}

#[track_caller]
fn check_output(text: &str, arguments: &[&str], expected: &str) {
    let (output, error, code) = script(text, arguments);
    assert_eq!(output, expected, "{error}");
    assert_eq!(code, 0, "{error}");
}
