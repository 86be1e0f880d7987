//! Tests with other programs: Flight SQL clients, each in its own language, and onnxruntime. What is not installed is skipped
//! with a message.

use std::process::Command;

use crate::{say, text};

fn run(client: &str) {
    let output = Command::new("tests/clients/run")
        .arg(client)
        .env("VATIC_BIN", env!("CARGO_BIN_EXE_vatic"))
        .env_remove("VATIC_DATA_DIR")
        .output()
        .unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    if said.starts_with("skipped") {
        say(&format!("{client}: {said}"));
    }
    assert!(output.status.success(), "{said}");
}

#[test]
fn adbc_from_python() {
    crate::take_turn();
    run("adbc");
}

/// It only computes, and has no limits of time, so it may run beside other tests.
#[test]
fn exported_models_in_onnxruntime() {
    run("graphs");
}

/// README followed from an empty directory with the wheel alone, and the Python module in the wheel.
#[test]
fn the_wheel_of_a_newcomer() {
    crate::take_turn();
    run("python");
}

#[test]
fn jdbc_from_java() {
    crate::take_turn();
    run("jdbc");
}

#[test]
fn flight_sql_from_javascript() {
    crate::take_turn();
    run("node");
}
