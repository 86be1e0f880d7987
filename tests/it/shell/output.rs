//! What a script writes: formats of rows, the words and lines that are not rows, and on which stream each is.

use std::process::Command;

use super::{check_output, pipe, script};
use crate::{HOUSES, TRAIN, text};

const TWO_ROWS: &str = "SELECT * FROM (VALUES (1, 'a|b', 1.5), (20, NULL, 'NaN'::double)) AS t(id, name, x) ORDER BY id";

#[test]
fn every_format_writes_the_same_rows() {
    for (format, expected) in [
        (
            "table",
            "+----+------+-----+\n| id | name | x   |\n+----+------+-----+\n|  1 | a|b  | 1.5 |\n| 20 | NULL | NaN |\n+----+------+-----+\n",
        ),
        (
            "box",
            "┌───────┬──────┬─────────┐\n│ id    │ name │ x       │\n│ int64 │ text │ float64 │\n├───────┼──────┼─────────┤\n\
             │     1 │ a|b  │     1.5 │\n│    20 │ NULL │     NaN │\n└───────┴──────┴─────────┘\n",
        ),
        ("csv", "id,name,x\n1,a|b,1.5\n20,,NaN\n"),
        ("tsv", "id\tname\tx\n1\ta|b\t1.5\n20\t\tNaN\n"),
        (
            "json",
            "[{\"id\":1,\"name\":\"a|b\",\"x\":1.5},{\"id\":20,\"name\":null,\"x\":null}]\n",
        ),
        (
            "nd-json",
            "{\"id\":1,\"name\":\"a|b\",\"x\":1.5}\n{\"id\":20,\"name\":null,\"x\":null}\n",
        ),
        (
            "markdown",
            "| id | name | x |\n| ---: | --- | ---: |\n| 1 | a\\|b | 1.5 |\n| 20 | NULL | NaN |\n",
        ),
        (
            "vertical",
            "-[ RECORD 1 ]\nid   | 1\nname | a|b\nx    | 1.5\n-[ RECORD 2 ]\nid   | 20\nname | NULL\nx    | NaN\n",
        ),
        ("none", ""),
    ] {
        check_output(TWO_ROWS, &["--format", format], expected);
    }
    check_output("SELECT 1 AS a WHERE false", &["--format", "json"], "[]\n");
    check_output("SELECT 1 AS a WHERE false", &["--format", "csv"], "a\n");
    check_output("SELECT 1 AS a WHERE false", &["--format", "jsonl"], "");
}

#[test]
fn flags_change_how_rows_are_written() {
    let csv = |arguments: &[&str]| script(TWO_ROWS, &[&["--format", "csv"], arguments].concat()).0;
    assert_eq!(csv(&["--null", "-"]), "id,name,x\n1,a|b,1.5\n20,-,NaN\n");
    assert_eq!(csv(&["--no-header"]), "1,a|b,1.5\n20,,NaN\n");
    let (output, ..) = script(
        "SELECT * FROM generate_series(1, 9)",
        &["--maxrows", "4", "--no-header"],
    );
    assert_eq!(output, "+---+\n| 1 |\n| 2 |\n| · |\n| 8 |\n| 9 |\n+---+\n");
    let wide = "SELECT 'a very long text that has to be cut' AS a, 2 AS b, 3 AS c, 4 AS d, 5 AS e";
    let (output, ..) = script(wide, &["--max-width", "30"]);
    assert!(
        output.lines().all(|line| line.chars().count() <= 30),
        "{output}"
    );
    assert!(output.contains("a very lo…"), "{output}");
    // More columns than fit make records, unless that is switched off.
    let wider = "SELECT 1 AS a, 2 AS b, 3 AS c, 4 AS d, 5 AS e, 6 AS f, 7 AS g, 8 AS h";
    let (output, ..) = script(wider, &["--max-width", "20"]);
    let records = "-[ RECORD 1 ]\na | 1\nb | 2\nc | 3\nd | 4\ne | 5\nf | 6\ng | 7\nh | 8\n";
    assert_eq!(output, records);
    let (output, ..) = script(
        &format!("\\pset expanded off\n{wider}"),
        &["--max-width", "20"],
    );
    assert!(
        output.contains('…') && !output.contains("RECORD"),
        "{output}"
    );
    let vector = "SELECT make_array(1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10) AS v";
    assert!(script(vector, &[]).0.contains("9.0, 10.0]"));
    assert!(
        script(&format!("\\pset vectors short\n{vector}"), &[])
            .0
            .contains("4.0000, … 10]")
    );
}

#[test]
fn a_plan_is_text_and_no_table() {
    let (output, error, _) = script("EXPLAIN FORMAT INDENT SELECT 1 AS one", &[]);
    assert!(
        output.starts_with("logical_plan\n  Projection: Int64(1) AS one\n"),
        "{output}{error}"
    );
    assert!(
        output.contains("\nphysical_plan\n  ProjectionExec"),
        "{output}"
    );
    assert!(!output.contains('|') && !output.contains('+'), "{output}");
}

#[test]
fn a_training_is_told_in_words_and_its_columns_are_there_for_programs() {
    let statements = format!("{HOUSES}; {TRAIN}");
    let (output, error, _) = script(&statements, &[]);
    assert!(
        output.starts_with("model price was created: version 1, trained on "),
        "{output}{error}"
    );
    assert!(
        output.contains(" that training did not see: r2 1.0000, loss "),
        "{output}"
    );
    assert_eq!(output.lines().count(), 2, "{output}");
    let (output, ..) = script(&statements, &["--format", "csv"]);
    assert!(
        output.starts_with("model,version,status,train_rows,"),
        "{output}"
    );
}

#[test]
fn what_is_not_data_goes_to_standard_error() {
    let (output, error, _) = script("SELECT 1 AS a", &["--timing", "--format", "csv"]);
    assert_eq!(output, "a\n1\n");
    assert!(error.starts_with("1 row. Elapsed 0."), "{error}");
    let (_, error, _) = script("SELECT 1 AS a", &["--timing", "-q"]);
    assert!(error.is_empty(), "{error}");
    let (_, error, code) = script("SELECT x", &["--color"]);
    assert!(error.starts_with("\u{1b}[1;31merror[42703]:"), "{error:?}");
    assert_eq!(code, 1);
    assert!(script("SELECT x", &[]).1.starts_with("error[42703]:"));
}

#[test]
fn progress_is_lines_without_a_terminal_if_wanted() {
    let statements = format!(
        "{HOUSES}; TRAIN MODEL price TARGET price OPTIONS (model_type = 'dnn_regressor', epochs = 2) AS SELECT * FROM houses"
    );
    let lines = |arguments: &[&str]| {
        let (_, error, code) = script(&statements, arguments);
        assert_eq!(code, 0, "{error}");
        error
            .lines()
            .filter(|line| line.starts_with("price: "))
            .count()
    };
    assert!(lines(&["--progress", "always"]) > 0);
    assert_eq!(lines(&[]), 0);
    assert_eq!(lines(&["--progress", "never"]), 0);
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
