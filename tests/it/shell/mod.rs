//! The command line: scripts, their output, commands, arguments and signals.

mod arguments;
mod commands;
mod output;
mod signals;
mod sources;

use std::path::Path;
use std::process::Output;

use crate::{text, vatic};

fn memory() -> &'static Path {
    Path::new(":memory:")
}

/// Runs a script from standard input with these flags.
fn pipe(input: &[u8], arguments: &[&str]) -> Output {
    let mut command = assert_cmd::Command::from_std(vatic(memory()));
    let command = command.args(arguments).write_stdin(input);
    command.output().unwrap()
}

/// Standard output, standard error and the exit code of a script with these flags.
fn script(script: &str, arguments: &[&str]) -> (String, String, i32) {
    let output = pipe(script.as_bytes(), arguments);
    let code = output.status.code().unwrap_or(-1);
    (text(&output.stdout), text(&output.stderr), code)
}

#[track_caller]
fn check_output(text: &str, arguments: &[&str], expected: &str) {
    let (output, error, code) = script(text, arguments);
    assert_eq!(output, expected, "{error}");
    assert_eq!(code, 0, "{error}");
}
