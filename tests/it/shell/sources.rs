//! Scripts from arguments, files and standard input: the order of statements, what is no script, and errors, their place and exit code.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use super::{memory, pipe, script};
use crate::{run, text, vatic};

#[test]
fn commands_and_files_run_in_order_in_one_session() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "INSERT INTO t VALUES (2); -- a comment; with a semicolon\n",
    )
    .unwrap();
    let output = vatic(memory())
        .args([
            "--format",
            "csv",
            "-c",
            "CREATE TABLE t (a INT); INSERT INTO t VALUES (1)",
            "-f",
        ])
        .arg(file.path())
        .args(["-c", "SELECT sum(a) AS s FROM t"])
        .output()
        .unwrap();
    assert_eq!(
        text(&output.stdout),
        "count\n1\ncount\n1\ns\n3\n",
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn standard_input_is_a_script() {
    let output = pipe(b"SELECT 1 AS a;\nSELECT 'x,y' AS b", &["--format", "csv"]);
    assert_eq!(text(&output.stdout), "a\n1\nb\n\"x,y\"\n");
    assert!(output.status.success());
    for nothing in ["", "  \n", ";", "-- nothing"] {
        let output = pipe(nothing.as_bytes(), &[]);
        assert!(
            output.status.success() && output.stdout.is_empty(),
            "{nothing:?}"
        );
    }
}

#[test]
fn a_pipe_gets_its_answer_before_it_ends() {
    use std::io::{BufRead, BufReader};
    let mut child = vatic(memory())
        .args(["--format", "csv"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 0..3 {
        // A reader that ignores strings would end the statement within the string.
        writeln!(input, "SELECT 'a;\nb' || {number} AS v\n;").unwrap();
        for expected in ["v".to_owned(), "\"a;".to_owned(), format!("b{number}\"")] {
            assert_eq!(output.next().unwrap().unwrap(), expected);
        }
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_first_error_ends_a_script_with_code_1() {
    let output = run(
        memory(),
        &["SELECT 1 AS a", "SELECT nonsense", "SELECT 2 AS b"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "a\n1\n");
    assert!(
        text(&output.stderr).starts_with("error[42703]:"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_script_may_go_on_after_errors() {
    let text = "SELECT nonsense;\n\\nonsense\nSELECT 2 AS b";
    let (output, error, code) = script(text, &["--continue-on-error", "--format", "csv"]);
    assert_eq!((output.as_str(), code), ("b\n2\n", 1));
    assert_eq!(error.matches("error[").count(), 2, "{error}");
    assert_eq!(script(text, &["--format", "csv"]).0, "");
}

#[test]
fn errors_point_at_their_place_in_the_script() {
    let output = pipe(b"SELECT 1;\n\nTRAIN MODEL m\n  TARGT y AS SELECT 1;", &[]);
    let error = text(&output.stderr);
    assert!(error.contains("LINE 4:   TARGT y AS SELECT 1"), "{error}");
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[1].find("TARGT"), lines[2].find('^'), "{error}");
}

#[test]
fn text_that_is_no_text_is_an_error_with_its_place() {
    let output = pipe(b"SELECT 1;\nSELECT '\xff'", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("not UTF-8: byte 18, in line 2"),
        "{}",
        text(&output.stderr)
    );
    let output = pipe(b"\xef\xbb\xbfSELECT 1 AS a;\r\n", &["--format", "csv"]);
    assert_eq!(text(&output.stdout), "a\n1\n", "{}", text(&output.stderr));
    assert_eq!(pipe(b"SELECT \0 1", &[]).status.code(), Some(1));
}

#[test]
fn what_is_no_script_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("binary");
    std::fs::write(&path, [0u8, 159, 146, 150, 10, 1, 2]).unwrap();
    assert!(fails_with_file(&path).contains("not UTF-8: byte 1, in line 1"));
    std::fs::write(&path, [b"SELECT '".to_vec(), vec![b'x'; 65 << 20]].concat()).unwrap();
    assert!(fails_with_file(&path).contains("a statement is longer than 64 MiB, from line 1 on"));
}

fn fails_with_file(path: &Path) -> String {
    let output = vatic(memory()).arg("-f").arg(path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    text(&output.stderr)
}
