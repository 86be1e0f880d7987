//! The real clients of Flight SQL, each with its own tests in its own language; those that are not installed are skipped
//! in words.

use std::process::Command;

use crate::text;

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
        // Not through the harness, which would keep it to itself.
        let mut terminal = std::io::stderr();
        std::io::Write::write_all(&mut terminal, format!("{client}: {said}").as_bytes()).unwrap();
    }
    assert!(output.status.success(), "{said}");
}

#[test]
fn adbc_from_python() {
    run("adbc");
}

#[test]
fn jdbc_from_java() {
    run("jdbc");
}

#[test]
fn flight_sql_from_javascript() {
    run("node");
}
