//! The Rust examples, which `cargo test` builds beside the tests.

use std::process::Command;

use crate::text;

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn check(name: &str, last_rows: &str) {
    let tests = std::env::current_exe().unwrap();
    let example = tests
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples")
        .join(name);
    if !example.exists() {
        eprintln!("skipped: example {name} is not built; cargo test without --test builds it");
        return;
    }
    let output = Command::new(example).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(printed.contains(last_rows), "{printed}");
}

#[test]
fn embed() {
    check("embed", "| 100  | 320000.0 |");
}

#[test]
fn extend() {
    check(
        "extend",
        "| predicted_is_warm |\n+-------------------+\n| true              |",
    );
    check(
        "extend",
        "| 18.0        | summer           | 20.0     |\n\
         | 2.0         |                  |          |\n\
         | 3.0         | winter           | 10.1     |",
    );
    check("extend", "| 0.75     | 4    |");
}
