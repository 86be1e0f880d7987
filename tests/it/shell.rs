//! The command line: sources of statements, exit codes, output streams.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::{HOUSES, TRAIN, fails, run, text, vatic};

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

/// Runs a script from standard input with these flags; returns standard output, standard error and the exit code.
fn script(script: &str, arguments: &[&str]) -> (String, String, i32) {
    let mut command = assert_cmd::Command::from_std(vatic(memory()));
    let output = command
        .args(arguments)
        .write_stdin(script)
        .output()
        .unwrap();
    let code = output.status.code().unwrap_or(-1);
    (text(&output.stdout), text(&output.stderr), code)
}

#[track_caller]
fn check_output(text: &str, arguments: &[&str], expected: &str) {
    let (output, error, code) = script(text, arguments);
    assert_eq!(output, expected, "{error}");
    assert_eq!(code, 0, "{error}");
}

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
fn commands_work_in_scripts() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(
        at("part.sql"),
        "#!/usr/bin/env vatic\nSELECT 'part' AS v;\n\\q\n",
    )
    .unwrap();
    let text = format!(
        ".mode csv\n\\echo hello 'two words'\n\\i {part}\nSELECT 1 AS a \\g {out}\nSELECT 2 AS b;\n\\x on\nSELECT 3 AS c;\n\\x off\n\
         \\set vatic.batch_size 77\n\\show vatic.batch_size\n\\o {other}\nSELECT 4 AS d;\n\\o\nSELECT 5 AS e \\watch 0.01 2\n\\explain SELECT 6;\n",
        part = at("part.sql"),
        out = at("out.csv"),
        other = at("other.csv"),
    );
    let (output, error, code) = script(&text, &[]);
    assert_eq!(code, 0, "{error}");
    let expected = "hello two words\nv\npart\nb\n2\n-[ RECORD 1 ]\nc | 3\nname,value\nvatic.batch_size,77\ne\n5\ne\n5\nplan_type,plan\n";
    assert!(output.starts_with(expected), "{output}");
    assert_eq!(std::fs::read_to_string(at("out.csv")).unwrap(), "a\n1\n");
    assert_eq!(std::fs::read_to_string(at("other.csv")).unwrap(), "d\n4\n");
}

#[test]
fn commands_that_show_what_there_is() {
    let text = "CREATE TABLE t (a INT, b TEXT);\n.mode csv\n\\d\n\\d t\n\\dn\n\\df l2_n\n\\h softmax\n\\conninfo\n\\? timing\n\\pset\n";
    let (output, error, code) = script(text, &[]);
    assert_eq!(code, 0, "{error}");
    for expected in [
        "public,t,BASE TABLE",
        "a,Int32,YES",
        "schema\nexamples\nml\npublic\n",
        "l2_normalize,scalar,the vector divided by its Euclidean length",
        "softmax(vector)",
        "statements run in this process",
        "\\timing .timer",
        "maxrows,inf",
    ] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
}

#[test]
fn plot_draws_losses_and_results() {
    let text = format!(
        "{HOUSES};\nTRAIN MODEL price TARGET price OPTIONS (model_type = 'dnn_regressor', epochs = 4, early_stop = false) \
         AS SELECT * FROM houses;\n\\plot\n\\plot price@1\nSELECT area, price FROM houses WHERE area > 90 ORDER BY area \\plot\n"
    );
    let (output, error, code) = script(&text, &[]);
    assert_eq!(code, 0, "{error}");
    // In a script, only the command draws.
    assert_eq!(output.matches('└').count(), 3, "{output}");
    assert_eq!(output.matches("losses of price@1\n").count(), 2, "{output}");
    for expected in [
        " train_loss ",
        " eval_loss ",
        "⠒⠒⠒ price 300.0000\n",
        "  91 ",
    ] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
    let train = "CREATE TABLE t AS SELECT value AS x, value > 50 AS y FROM generate_series(1, 100); \
                 TRAIN MODEL c TARGET y OPTIONS (model_type = 'logistic_reg') AS SELECT * FROM t;";
    let matrix = "SELECT * FROM confusion_matrix(c, t)";
    let (output, error, _) = script(
        &format!("{train}\n{matrix};\n{matrix} \\plot\n\\pset plot on\n{matrix};\n"),
        &[],
    );
    assert_eq!(
        output.matches("| predicted_label |").count(),
        1,
        "{output}{error}"
    );
    assert_eq!(
        output.matches("of 100 rows are right, ").count(),
        2,
        "{output}{error}"
    );
}

#[test]
fn commands_with_an_error_end_a_script_with_code_1() {
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("own.sql");
    std::fs::write(&own, format!("\\i {}\n", own.display())).unwrap();
    for (command, expected) in [
        ("\\timng", "the nearest name is \"\\timing\""),
        ("\\i /nowhere.sql", "/nowhere.sql: No such file"),
        ("\\i .", "it is a directory"),
        ("\\plot", "no model was trained yet"),
        ("\\plot nobody", "model \"nobody\" does not exist"),
        ("SELECT 'a' AS b \\plot", "no two columns with numbers"),
        ("SELECT 1 AS a \\plot m", "not both"),
        (
            &format!("\\i {}", own.display()),
            "include each other more than 50 deep",
        ),
        ("\\o /nowhere/x", "/nowhere/x: "),
        (".mode xml", "there is no format \"xml\" among table, box"),
        ("\\pset nul x", "the nearest name is \"null\""),
        ("\\timing maybe", "takes on or off, found maybe"),
        ("\\set vatic.nonsense 1", "vatic.nonsense"),
        ("\\g", "there is no previous statement"),
        ("SELECT 1 \\timing", "is not ended by a semicolon"),
        ("\\echo 'open", "a quote is not closed"),
        ("\\h sofmax", "the nearest name is \"softmax\""),
        ("\\h trian", "there is no function \"trian\""),
        ("\\! exit 3", "ended with exit status: 3"),
    ] {
        let (output, error, code) = script(&format!("\n{command}\nSELECT 'not run'"), &[]);
        assert_eq!(code, 1, "{command}: {error}");
        assert!(error.contains(expected), "{command}: {error}");
        assert!(!output.contains("not run"), "{command}");
    }
    let (_, error, _) = script("\n\n\\timng", &[]);
    assert!(
        error.contains("LINE 3: \\timng") || error.starts_with("error[42601]"),
        "{error}"
    );
    let (_, error, code) = script("\\! true", &["--safe"]);
    assert!(error.contains("--safe forbids") && code == 1, "{error}");
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
fn settings_come_from_flags_and_files() {
    let directory = tempfile::tempdir().unwrap();
    let rc = directory.path().join("rc.sql");
    std::fs::write(&rc, "SET vatic.batch_size = 5;").unwrap();
    let show = "SHOW vatic.batch_size";
    let rc = rc.to_str().unwrap();
    assert!(script(show, &["--rc", rc]).0.contains("| 5 "));
    assert!(
        script(show, &["--set", "vatic.batch_size=6"])
            .0
            .contains("| 6 ")
    );
    let rows = script("SHOW datafusion.execution.batch_size", &["-b", "99"]).0;
    assert!(rows.contains("| 99 "), "{rows}");
    let out = directory.path().join("out.csv");
    check_output(
        "SELECT 1 AS a",
        &["--format", "csv", "-o", out.to_str().unwrap()],
        "",
    );
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "a\n1\n");
    let file = directory.path().join("file.sql");
    std::fs::write(&file, "SELECT 'from a file' AS v").unwrap();
    check_output(
        "",
        &["--format", "csv", file.to_str().unwrap()],
        "v\nfrom a file\n",
    );
    // Paths are relative to the directory of --data-path.
    let text = "COPY (SELECT 1 AS a) TO 'there.csv'";
    assert_eq!(
        script(text, &["-p", directory.path().to_str().unwrap()]).2,
        0
    );
    assert!(directory.path().join("there.csv").exists());
}

#[test]
fn bad_flags_have_code_2_and_say_what_they_take() {
    for (arguments, expected) in [
        (&["--set", "nonsense=1"][..], "nonsense"),
        (
            &["--set", "vatic.batch_size"],
            "such as vatic.batch_size=1000",
        ),
        (&["--maxrows", "0"], "a whole number from 1, or inf"),
        (&["--memory-limit", "8X"], "such as 500M or 8G"),
        (
            &["--format", "csv", "--format", "json"],
            "cannot be used multiple times",
        ),
        (&["--rc", "/nowhere.sql"], "/nowhere.sql"),
        (&["--rc", "x", "--no-rc"], "cannot be used with"),
        (&["-o", "/nowhere/x"], "/nowhere/x"),
        (&["-p", "/nowhere"], "/nowhere"),
        (&["-c"], "a value is required"),
        (&["--batch-size", "0"], "0 is not in"),
    ] {
        let (output, error, code) = script("SELECT 1", arguments);
        assert_eq!(code, 2, "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
        assert!(output.is_empty(), "{arguments:?}");
    }
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
fn a_misspelt_sub_command_is_told_the_nearest() {
    for (word, expected) in [
        (
            "servee",
            "there is no file servee; the nearest sub-command is \"serve\"",
        ),
        ("nothing.sql", "nothing.sql: No such file"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vatic"));
        let command = command.args([word, "--data-dir", ":memory:"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn completions_know_sub_commands_flags_and_values() {
    for (shell, parts) in [
        ("bash", ["complete -F _vatic", "--data-dir", "vertical"]),
        ("zsh", ["#compdef vatic", "--data-dir", "vertical"]),
        ("fish", ["complete -c vatic", "data-dir", "vertical"]),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vatic"));
        let output = command.args(["completions", shell]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let script = text(&output.stdout);
        for part in parts.iter().chain(&["serve"]) {
            assert!(script.contains(*part), "{shell} lacks {part}");
        }
    }
    // Bash itself offers what begins with the word before the cursor.
    let typed = "source <(\"$0\" completions bash) && COMP_WORDS=(vatic ser) && COMP_CWORD=1 \
                 && _vatic vatic ser vatic && echo \"${COMPREPLY[@]}\"";
    let mut command = Command::new("bash");
    let output = command.args(["-c", typed, env!("CARGO_BIN_EXE_vatic")]);
    let output = output.output().unwrap();
    assert_eq!(
        text(&output.stdout).trim(),
        "serve",
        "{}",
        text(&output.stderr)
    );
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

#[cfg(unix)]
#[test]
fn signals_end_a_script() {
    for (name, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        // The signal comes while a statement runs, and while the program waits for more of the script.
        for statement in [
            "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b;\n",
            "",
        ] {
            let mut child = vatic(memory())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut input = child.stdin.take().unwrap();
            input.write_all(b"\\echo ready\n").unwrap();
            let mut ready = [0; 6];
            std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
            input.write_all(statement.as_bytes()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(300));
            let sent = Command::new("kill")
                .args([name, &child.id().to_string()])
                .status();
            assert!(sent.unwrap().success());
            assert_eq!(
                child.wait().unwrap().code(),
                Some(code),
                "{name} {statement:?}"
            );
        }
    }
}

#[test]
fn a_configuration_file_holds_flags_and_its_errors_name_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let with = |content: &str, arguments: &[&str]| {
        std::fs::write(file.path(), content).unwrap();
        let mut command = vatic(memory());
        let command = command.arg("--config").arg(file.path()).args(arguments);
        command
            .args(["-c", "SELECT 1 AS a, NULL AS b"])
            .output()
            .unwrap()
    };
    let good = "format = \"csv\"\nnull = \"-\"\nno-header = true\nset = [\"vatic.batch_size=7\"]";
    assert_eq!(text(&with(good, &[]).stdout), "1,-\n");
    // Flags override the file.
    assert_eq!(text(&with(good, &["--null", "?"]).stdout), "1,?\n");
    for (content, problem) in [
        ("format = ", "TOML"),
        (
            "formt = \"csv\"",
            "there is no key \"formt\"; the nearest name is \"format\"",
        ),
        ("command = \"SELECT 2\"", "there is no key \"command\""),
        ("format = \"xml\"", "invalid value 'xml'"),
        ("no-header = \"yes\"", "no-header is true or false"),
        ("memory-limit = [[1]]", "a text or a number is expected"),
    ] {
        let output = with(content, &[]);
        assert_eq!(output.status.code(), Some(2), "{content}");
        let error = text(&output.stderr);
        assert!(
            error.contains("configuration file") && error.contains(problem),
            "{error}"
        );
    }
    let missing = vatic(memory())
        .args(["--config", "/nonexistent/c.toml", "-c", "SELECT 1"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(2));
}
