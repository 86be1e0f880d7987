//! Tests with other programs: Flight SQL clients, each in its own language, and onnxruntime. What is not installed is skipped
//! with a message.

use std::process::Command;

use crate::{say, text};

fn run(client: &str) {
    crate::take_turn();
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
    run("adbc");
}

#[test]
fn exported_models_in_onnxruntime() {
    run("graphs");
}

#[test]
fn jdbc_from_java() {
    run("jdbc");
}

#[test]
fn flight_sql_from_javascript() {
    run("node");
}
