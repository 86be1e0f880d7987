//! The shell in a pseudo-terminal, with typed input.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;
use expectrl::{ControlCode, Eof, Expect, Regex, Session};

use crate::text;

/// A shell whose history and configuration are its own.
struct Terminal {
    session: OsSession,
    folder: tempfile::TempDir,
    lines: usize,
}

const PROMPT: &str = "vatic> ";
const RUNNING: &str = "running for [0-9]+ s";
const FOREVER: &str =
    "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b;";

/// A statement with a batch that takes minutes and cannot be cancelled meanwhile.
const STUBBORN: &str = "SET datafusion.execution.target_partitions = 1; SELECT \
                        sum(levenshtein(repeat('a', value), repeat('b', value))) FROM generate_series(20000, 20200);";

impl Terminal {
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments, environment)
    }

    fn start_in(
        folder: tempfile::TempDir,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = shell(folder.path(), environment);
        command.args(arguments);
        let mut terminal = Self {
            session: spawn(command),
            folder,
            lines: 0,
        };
        terminal.expect(PROMPT);
        terminal
    }

    #[track_caller]
    fn expect(&mut self, text: &str) -> String {
        match self.session.expect(text) {
            Ok(found) => String::from_utf8_lossy(found.before()).into_owned(),
            Err(error) => panic!("{text:?} did not come: {error}"),
        }
    }

    fn press(&mut self, key: ControlCode) {
        self.session.send(key).unwrap();
    }

    /// Types a line and returns its output. The prompt does not mark the end of the output, because the editor writes the
    /// prompt again and again.
    #[track_caller]
    fn type_line(&mut self, line: &str) -> String {
        self.lines += 1;
        let mark = format!("done-{}", self.lines);
        self.session
            .send(format!("{line}\r\\echo {mark}\r"))
            .unwrap();
        // A dumb terminal echoes typed-ahead text before the prompt.
        match self.session.expect(Regex(format!("(\n|> ){mark}\r\n"))) {
            Ok(found) => text(found.before()),
            Err(error) => panic!("nothing came of {line:?}: {error}"),
        }
    }

    fn history(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("history")).unwrap_or_default()
    }

    /// The exit code after the program ended by itself.
    #[track_caller]
    fn end(mut self) -> i32 {
        self.session.expect(Eof).unwrap();
        match self.session.get_process().wait().unwrap() {
            WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        }
    }
}

fn spawn(command: Command) -> OsSession {
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(30)));
    session.get_process_mut().set_window_size(110, 40).unwrap();
    session
}

fn shell(folder: &Path, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vatic"));
    command
        .args(["--data-dir", ":memory:"])
        .env("VATIC_HISTORY", folder.join("history"))
        .env("XDG_CONFIG_HOME", folder)
        .env("HOME", folder)
        .env("TERM", "xterm-256color")
        .env("PAGER", "cat")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("VATIC_DATA_DIR")
        .envs(environment.iter().copied());
    command
}

/// No colours, because their codes would be between letters.
const PLAIN: &[(&str, &str)] = &[("NO_COLOR", "1")];

#[test]
fn statements_may_take_several_lines_and_errors_do_not_end_the_session() {
    let mut terminal = Terminal::start(&[], PLAIN);
    terminal.session.send("SELECT 40 + 2\r").unwrap();
    terminal.expect("    -> ");
    let answer = terminal.type_line("AS answer;");
    assert!(
        answer.contains("│     42 │") && answer.contains("1 row. Elapsed"),
        "{answer}"
    );
    let error = terminal.type_line("SELECT nonsense;");
    assert!(
        error.contains("error[42703]") && error.contains("LINE 1: SELECT nonsense"),
        "{error}"
    );
    assert!(
        terminal
            .type_line("\\timng")
            .contains("the nearest name is \"\\timing\"")
    );
    assert!(
        terminal
            .type_line("SELECT 1 AS one \\gx")
            .contains("one | 1")
    );
    assert!(!terminal.type_line(";").contains("error"));
    terminal.session.send("\\q\r").unwrap();
    assert_eq!(terminal.end(), 0);
}

#[test]
fn tab_completes_names_keywords_options_and_commands() {
    let mut terminal = Terminal::start(&[], PLAIN);
    terminal.type_line("CREATE TABLE measurements AS SELECT 1 AS temperature;");
    let mut check = |typed: &str, completed: &str| {
        terminal.session.send(format!("{typed}\t")).unwrap();
        terminal.expect(completed);
        terminal.press(ControlCode::EndOfText);
        terminal.expect(PROMPT);
    };
    check("SELECT * FROM meas", "SELECT * FROM measurements");
    check("SELECT temp", "SELECT temperature");
    check("sele", "select");
    check("SELECT cosine_s", "cosine_similarity(");
    check("SELECT m.te", "SELECT m.te");
    check(
        "TRAIN MODEL m TARGET y OPTIONS (model_t",
        "OPTIONS (model_type = ",
    );
    check(
        "TRAIN MODEL m TARGET y OPTIONS (model_type = 'linear",
        "'linear_reg",
    );
    check("unlo", "unload model");
    check("LOAD MODEL m OPTIONS (dev", "OPTIONS (device = ");
    check("SET vatic.cache", "SET vatic.cache_bytes");
    check("SHOW mode", "SHOW models");
    check("ALTER MODEL m SET def", "SET default_version =");
    check(
        "SELECT * FROM predict(m, measurements, thr",
        "threshold => ",
    );
    check("\\timi", "\\timing");
    check("\\i Cargo.to", "\\i Cargo.toml");
    check("COPY measurements TO 'sql-te", "'sql-tests/");
}

#[test]
fn control_c_cancels_what_runs_and_clears_what_is_typed() {
    let mut terminal = Terminal::start(&[], PLAIN);
    terminal.session.send("SELECT 'typed").unwrap();
    terminal.press(ControlCode::EndOfText);
    terminal.expect(PROMPT);
    terminal.session.send(format!("{FOREVER}\r")).unwrap();
    terminal.session.expect(Regex(RUNNING)).unwrap();
    terminal.press(ControlCode::EndOfText);
    terminal.expect("error[57014]: cancelled");
    terminal.expect(PROMPT);
    assert!(terminal.type_line("SELECT 6 * 7;").contains("42"));
    // Ctrl-D clears typed text; without text it ends the program.
    terminal.session.send("SELECT 1\r").unwrap();
    terminal.expect("    -> ");
    terminal.press(ControlCode::EndOfTransmission);
    terminal.expect(PROMPT);
    terminal.press(ControlCode::EndOfTransmission);
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_training_shows_its_progress_and_is_cancelled() {
    let mut terminal = Terminal::start(&[], PLAIN);
    terminal.type_line(
        "CREATE TABLE t AS SELECT value AS x, value * 2 AS y FROM generate_series(1, 200);",
    );
    let train = "TRAIN MODEL m TARGET y OPTIONS (model_type = 'dnn_regressor', epochs = 1000000, early_stop = false) \
                 AS SELECT x, y FROM t;";
    terminal.session.send(format!("{train}\r")).unwrap();
    terminal.session.expect(Regex("m: epoch +[0-9]+")).unwrap();
    terminal.press(ControlCode::EndOfText);
    terminal.expect("cancelled");
    terminal.expect(PROMPT);
    let runs = terminal.type_line("SELECT status FROM ml.training_runs;");
    assert!(runs.contains("CANCELLED"), "{runs}");
}

#[test]
fn a_training_and_a_confusion_matrix_are_drawn() {
    let mut terminal = Terminal::start(&[], PLAIN);
    terminal.type_line(
        "CREATE TABLE t AS SELECT value AS x, value > 100 AS y FROM generate_series(1, 200);",
    );
    let train = "TRAIN MODEL m TARGET y OPTIONS (model_type = 'dnn_classifier', epochs = 3, early_stop = false) \
                 AS SELECT x, y FROM t;";
    let drawn = terminal.type_line(train);
    assert!(
        drawn.contains('└') && drawn.contains("train_loss"),
        "{drawn}"
    );
    let matrix = "SELECT * FROM confusion_matrix(m, t);";
    let drawn = terminal.type_line(matrix);
    assert!(drawn.contains("of 200 rows are right"), "{drawn}");
    terminal.type_line("\\pset plot off");
    let table = terminal.type_line(matrix);
    assert!(table.contains("│ predicted_label │"), "{table}");
}

#[test]
fn history_keeps_whole_statements_and_no_secrets() {
    let mut terminal = Terminal::start(&[], PLAIN);
    terminal.session.send("SELECT 'first\r").unwrap();
    terminal.expect("    -> ");
    terminal.type_line("line' AS v;");
    terminal.type_line("SELECT 'password' AS secret;");
    terminal.type_line(" SELECT 'after a blank';");
    // The arrow up goes back over three commands.
    terminal.session.send("\x1b[A\x1b[A\x1b[A\x1b[A").unwrap();
    terminal.expect("line' AS v;");
    terminal.type_line("");
    let history = terminal.history();
    assert!(history.contains("SELECT 'first\\nline' AS v;"), "{history}");
    assert!(
        !history.contains("password") && !history.contains("blank"),
        "{history}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(terminal.folder.path().join("history"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o077, 0);
    }
}

#[test]
fn a_broken_history_or_start_up_file_keeps_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("history"), b"\xff\xfe\x00broken").unwrap();
    std::fs::create_dir(folder.path().join("vatic")).unwrap();
    let start_up = "\\pset null (none)\nSELECT nonsense;\n";
    std::fs::write(folder.path().join("vatic/init.sql"), start_up).unwrap();
    let mut session = spawn(shell(folder.path(), PLAIN));
    session.expect("error[42703]").unwrap();
    session.expect("init.sql").unwrap();
    session.expect(PROMPT).unwrap();
    session.send("SELECT NULL AS n;\r").unwrap();
    session.expect("(none)").unwrap();
}

#[test]
fn colours_are_there_unless_they_are_not_wanted() {
    let mut terminal = Terminal::start(&[], &[]);
    let coloured = terminal.type_line("SELECT 'text' AS t;");
    assert!(coloured.contains("\x1b[1;34mSELECT\x1b[0m"), "{coloured:?}");
    assert!(coloured.contains("\x1b[32m'text'\x1b[0m"), "{coloured:?}");
    assert!(terminal.type_line("SELECT x;").contains("\x1b[1;31merror"));
    for (arguments, environment) in [
        (&[][..], PLAIN),
        (&["--color=never"], &[]),
        (&[], &[("TERM", "dumb")]),
    ] {
        let mut terminal = Terminal::start(arguments, environment);
        let answer = terminal.type_line("SELECT 'text' AS t;");
        assert!(
            answer.contains("text") && !answer.contains("\x1b[32m"),
            "{answer:?}"
        );
    }
}

#[test]
fn long_results_go_through_the_pager_and_are_cut_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let pager = folder.path().join("pager");
    std::fs::write(&pager, "#!/bin/sh\necho PAGED; cat\n").unwrap();
    let make_executable = Command::new("chmod").arg("+x").arg(&pager).status();
    assert!(make_executable.unwrap().success());
    let environment = [("NO_COLOR", "1"), ("PAGER", pager.to_str().unwrap())];
    let mut terminal = Terminal::start_in(folder, &[], &environment);
    terminal
        .session
        .get_process_mut()
        .set_window_size(80, 24)
        .unwrap();
    let long = terminal.type_line("SELECT * FROM generate_series(1, 10000000);");
    assert!(
        long.contains("PAGED") && long.contains("10000000 rows (40 shown)"),
        "{long}"
    );
    assert!(
        long.contains("│     20 │") || long.contains("20 │"),
        "{long}"
    );
    assert!(long.contains("10000000 │"), "{long}");
    assert!(!terminal.type_line("SELECT 1;").contains("PAGED"));
    terminal.type_line("\\pset pager off");
    assert!(
        !terminal
            .type_line("SELECT * FROM generate_series(1, 100);")
            .contains("PAGED")
    );
}

#[test]
fn any_width_of_the_terminal_is_fine() {
    let mut terminal = Terminal::start(&["--no-pager"], PLAIN);
    terminal.type_line(
        "CREATE VIEW wide AS SELECT 'a long text that does not fit' AS a, 2 AS b, 3 AS c, '日本語' AS d, chr(27) || '[31m' AS e;",
    );
    for width in [0, 1, 20, 80, 10_000] {
        terminal
            .session
            .get_process_mut()
            .set_window_size(width, 24)
            .unwrap();
        terminal.session.send("SELECT * FROM wide;\r").unwrap();
        terminal.expect("1 row.");
    }
    terminal
        .session
        .get_process_mut()
        .set_window_size(200, 24)
        .unwrap();
    let wide = terminal.type_line("SELECT * FROM wide;");
    assert!(
        wide.contains("\\u{1b}[31m") && !wide.contains("\x1b[31m"),
        "{wide}"
    );
}

#[test]
fn the_last_statement_can_be_edited() {
    let folder = tempfile::tempdir().unwrap();
    let editor = folder.path().join("editor");
    std::fs::write(&editor, "#!/bin/sh\nsed -i 's/one/two/' \"$1\"\n").unwrap();
    assert!(
        Command::new("chmod")
            .arg("+x")
            .arg(&editor)
            .status()
            .unwrap()
            .success()
    );
    let environment = [("NO_COLOR", "1"), ("VISUAL", editor.to_str().unwrap())];
    let mut terminal = Terminal::start_in(folder, &[], &environment);
    terminal.type_line("SELECT 'one' AS v;");
    let edited = terminal.type_line("\\e");
    assert!(edited.contains("│ two  │"), "{edited}");
    assert!(terminal.type_line("\\s").contains("SELECT 'one' AS v;"));
}

/// Runs `actions` on a shell started by bash, and returns its exit code; the terminal must be as before.
fn in_bash(actions: impl Fn(&mut OsSession, i32)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "stty -g > before; '{}' --data-dir :memory: & echo PID $!; fg > /dev/null; echo CODE $?; stty -g > after; \
         cmp before after && echo RESTORED",
        env!("CARGO_BIN_EXE_vatic")
    );
    let mut command = Command::new("bash");
    command
        .args(["-m", "-c", &script])
        .current_dir(folder.path())
        .env("VATIC_HISTORY", folder.path().join("history"))
        .env("XDG_CONFIG_HOME", folder.path())
        .env("HOME", folder.path())
        .env("NO_COLOR", "1")
        .env("TERM", "xterm");
    let mut session = spawn(command);
    let found = session.expect(Regex("PID ([0-9]+)")).unwrap();
    let pid = text(found.get(1).unwrap()).parse().unwrap();
    session.expect(PROMPT).unwrap();
    actions(&mut session, pid);
    let found = session.expect(Regex("CODE ([0-9]+)")).unwrap();
    let code = text(found.get(1).unwrap());
    session.expect("RESTORED").unwrap();
    code
}

fn signal(name: &str, pid: i32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_second_control_c_ends_the_program_and_leaves_the_terminal_as_it_was() {
    let code = in_bash(|session, _| {
        session.send(format!("{STUBBORN}\r")).unwrap();
        session.expect(Regex(RUNNING)).unwrap();
        // An operator that computes for seconds stops late; the second Ctrl-C does not wait for it.
        session.send(ControlCode::EndOfText).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        session.send(ControlCode::EndOfText).unwrap();
    });
    assert_eq!(code, "130");
}

#[test]
fn signals_end_the_program_and_leave_the_terminal_as_it_was() {
    assert_eq!(in_bash(|_, pid| signal("-TERM", pid)), "143");
    assert_eq!(in_bash(|_, pid| signal("-HUP", pid)), "129");
    let while_running = |session: &mut OsSession, pid| {
        session.send(format!("{FOREVER}\r")).unwrap();
        session.expect(Regex(RUNNING)).unwrap();
        signal("-TERM", pid);
    };
    assert_eq!(in_bash(while_running), "143");
}
