//! The program's arguments: flags, settings, the configuration file that holds them, sub-commands, and their completion.

use std::process::{Command, Stdio};

use super::{check_output, memory, script};
use crate::{fails, text, vatic};

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
