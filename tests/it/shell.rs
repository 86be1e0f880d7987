//! The program: sources, exit codes, streams.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::{fails, run, text, vatic};

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
fn bad_calls_have_code_2() {
    assert!(fails(memory(), &[], 0).is_empty());
    for arguments in [
        &["--nonsense"][..],
        &["--format", "xml"],
        &["-f", "/nowhere/x.sql"],
        &["-f", "src"],
    ] {
        let output = vatic(memory()).args(arguments).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn control_characters_in_data_do_not_reach_the_terminal() {
    let output = pipe(b"SELECT chr(27) || '[31mred' AS a", &[]);
    assert!(!output.stdout.contains(&27), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("\\u{1b}[31mred"));
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_ends_the_program_quietly() {
    let script = format!(
        "'{}' --data-dir :memory: --format csv -c 'SELECT * FROM generate_series(1, 1000000)' | head -1",
        env!("CARGO_BIN_EXE_vatic")
    );
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", &script])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{:?} {}",
        output.status,
        text(&output.stderr)
    );
    assert_eq!(text(&output.stdout), "value\n");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn of_files_that_disagree_the_error_names_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    std::fs::write(directory.path().join("a.csv"), "x,y\n1,2\n").unwrap();
    std::fs::write(directory.path().join("b.csv"), "x,y,z\n1,2,3\n").unwrap();
    let options = "OPTIONS ('format.has_header' 'true')";
    let create = format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{path}' {options}");
    let error = fails(memory(), &[&create], 1);
    assert!(
        error.contains("file b.csv has 3 columns, file a.csv has 2"),
        "{error}"
    );
    let copy = |value: &str, name: &str| {
        format!("COPY (SELECT {value} AS a) TO '{path}/p/{name}.parquet'")
    };
    let create = format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{path}/p/'");
    let error = fails(
        memory(),
        &[&copy("1", "one"), &copy("'text'", "two"), &create],
        1,
    );
    assert!(
        error.contains("is utf8 in file two.parquet and int64 in file one.parquet"),
        "{error}"
    );
    std::fs::write(directory.path().join("p/three.parquet"), "no Parquet").unwrap();
    assert!(fails(memory(), &[&create], 1).contains("file three.parquet: "));
}
