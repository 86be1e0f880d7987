//! The Rust examples, which `cargo test` builds beside the tests, and the tables that count lines: of `examples/inference`, and
//! of the guide for users of Spark.

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

/// How a line begins that is a comment in SQL or Python.
const COMMENTS: [&str; 3] = ["--", "#", "\"\"\""];

/// The lines of a program that are neither blank nor a comment.
fn lines_of_code(program: &str) -> usize {
    let lines = program.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !COMMENTS.iter().any(|mark| line.starts_with(mark)))
        .count()
}

/// The last columns of the table count the lines of Python and of SQL below each heading.
#[test]
fn the_table_for_users_of_spark_has_the_lines_of_each_step() {
    let guide = std::fs::read_to_string("docs/guide/spark.md").unwrap();
    let mut counted = Vec::new();
    let mut all = [0, 0];
    for section in guide.split("\n## ").skip(1) {
        let lines = ["python", "sql"].map(|language| lines_of_blocks(section, language));
        if lines != [0, 0] {
            counted.push((section.lines().next().unwrap(), lines));
            all = [all[0] + lines[0], all[1] + lines[1]];
        }
    }
    counted.push(("all", all));
    let table: Vec<(&str, [usize; 2])> = guide.lines().filter_map(step).collect();
    assert_eq!(table, counted);
    assert_eq!(table.len(), 7);
}

/// The step of a row of the table, and its lines of Python and of SQL.
fn step(line: &str) -> Option<(&str, [usize; 2])> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let [_, name, python, sql, _] = cells.as_slice() else {
        return None;
    };
    let name = name.trim_start_matches('[').split(']').next()?;
    Some((name, [python.parse().ok()?, sql.parse().ok()?]))
}

fn lines_of_blocks(section: &str, language: &str) -> usize {
    let fence = format!("```{language}\n");
    let blocks = section.split(&fence).skip(1);
    blocks
        .map(|block| lines_of_code(block.split("```").next().unwrap()))
        .sum()
}
