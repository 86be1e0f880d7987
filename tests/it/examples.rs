//! The Rust examples, which `cargo test` builds beside the tests, and the table of `examples/inference`.

use std::path::Path;
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

/// The last column of the table counts the lines of a script that are neither blank nor a comment.
#[test]
fn the_table_of_inference_has_the_lines_of_each_script() {
    let folder = Path::new("examples/inference");
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let mut rows: Vec<(String, usize)> = readme.lines().filter_map(row).collect();
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            scripts.push((
                name,
                lines_of_code(&std::fs::read_to_string(&path).unwrap()),
            ));
        }
    }
    rows.sort();
    scripts.sort();
    assert_eq!(rows, scripts);
    assert_eq!(scripts.len(), 16);
}

/// The script of a row of the table, and its last number.
fn row(line: &str) -> Option<(String, usize)> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let (_, name) = cells.get(1)?.strip_suffix(".sql)")?.split_once("](")?;
    let lines = cells.iter().rev().nth(1)?.parse().ok()?;
    Some((name.to_owned(), lines))
}

fn lines_of_code(script: &str) -> usize {
    let lines = script.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("--"))
        .count()
}
