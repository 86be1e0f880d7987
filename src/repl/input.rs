//! Statements typed in a terminal.

use std::path::PathBuf;

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::Exit;
use super::output::Format;
use super::progress::ProgressLine;
use super::run::{Settings, run_script, say};
use crate::engine::Engine;
use crate::error::{Result, SqlState, report, sql_err};
use crate::sql::script::is_complete;

const PROMPT: &str = "vatic> ";
const CONTINUATION: &str = "    -> ";
const HELP: &str = "\
Type SQL and end it with a semicolon. To leave: \\q or Ctrl-D. Ctrl-C cancels what runs.
  SHOW MODELS;  SHOW TABLES;  DESCRIBE MODEL m;  EXPLAIN SELECT …;
  TRAIN MODEL m TARGET y OPTIONS (model_type = 'dnn_classifier') AS SELECT …;
  SELECT * FROM predict(m, (SELECT …));
";

/// Reads statements from the terminal until the user leaves.
pub async fn run_interactive(engine: &Engine, format: Format) -> Exit {
    match interact(engine, format).await {
        Ok(()) => Exit::Success,
        Err(error) => {
            let error = report(&error);
            say(&format!(
                "error[{}]: {}\n",
                error.state.code(),
                error.message
            ));
            Exit::Usage
        }
    }
}

async fn interact(engine: &Engine, format: Format) -> Result<()> {
    let progress = ProgressLine::new();
    let session = engine.session()?.with_progress(progress.listener());
    let settings = Settings {
        format,
        with_footer: true,
    };
    say(&format!(
        "vatic {}. \\? for help, \\q to leave.\n",
        env!("CARGO_PKG_VERSION")
    ));
    let mut editor = Editor::open()?;
    let mut typed = String::new();
    loop {
        let prompt = if typed.is_empty() {
            PROMPT
        } else {
            CONTINUATION
        };
        match editor.read(prompt).await? {
            Line::Text(line) => {
                match (typed.is_empty(), line.trim()) {
                    (true, "") => continue,
                    (true, "\\q" | "exit" | "quit" | "exit;" | "quit;") => return Ok(()),
                    (true, "\\?" | "help" | "help;") => {
                        say(HELP);
                        continue;
                    }
                    (true, command) if command.starts_with('\\') => {
                        say(&format!(
                            "there is no command {command}; \\? shows what there is\n"
                        ));
                        continue;
                    }
                    _ => {}
                }
                typed.push_str(&line);
                typed.push('\n');
                if is_complete(&typed) {
                    editor.remember(typed.trim());
                    // An error was shown; the session goes on.
                    run_script(&session, &progress, &typed, settings).await;
                    typed.clear();
                }
            }
            Line::Interrupted => typed.clear(),
            Line::End if typed.is_empty() => return Ok(()),
            Line::End => typed.clear(),
        }
    }
}

enum Line {
    Text(String),
    Interrupted,
    End,
}

/// The line editor, which blocks and so has a thread of its own while it reads.
struct Editor {
    inner: Option<DefaultEditor>,
    history: Option<PathBuf>,
}

impl Editor {
    fn open() -> Result<Self> {
        let mut inner = DefaultEditor::new().map_err(terminal_err)?;
        let directory = dirs::state_dir()
            .or_else(dirs::data_local_dir)
            .map(|directory| directory.join("vatic"));
        let history = directory.and_then(|directory| {
            std::fs::create_dir_all(&directory).ok()?;
            Some(directory.join("history"))
        });
        if let Some(history) = &history {
            // There is none at the first start, and one that cannot be read is not worth an error.
            let _ = inner.load_history(history);
        }
        Ok(Self {
            inner: Some(inner),
            history,
        })
    }

    async fn read(&mut self, prompt: &'static str) -> Result<Line> {
        let lost = || sql_err(SqlState::Internal, "the line editor is lost");
        let mut inner = self.inner.take().ok_or_else(lost)?;
        let reading = tokio::task::spawn_blocking(move || {
            let line = inner.readline(prompt);
            (inner, line)
        });
        let (inner, line) = reading.await.map_err(|_| lost())?;
        self.inner = Some(inner);
        match line {
            Ok(line) => Ok(Line::Text(line)),
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(terminal_err(error)),
        }
    }

    fn remember(&mut self, statement: &str) {
        let Some(inner) = &mut self.inner else { return };
        // A history that cannot be written must not stand in the way of the statement.
        let _ = inner.add_history_entry(statement);
        if let Some(history) = &self.history {
            let _ = inner.append_history(history);
        }
    }
}

fn terminal_err(error: ReadlineError) -> datafusion::common::DataFusionError {
    sql_err(SqlState::Io, format!("terminal: {error}"))
}
