//! The interactive shell: reads statements from a terminal.

use std::borrow::Cow;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::{FileHistory, History, SearchDirection};
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Helper};

use super::batch::{prepare, refuse};
use super::complete::Completion;
use super::exit::{Exit, Flow};
use super::highlight::highlight;
use super::read::read_file;
use super::shell::{Shell, Start, say};
use crate::engine::Engine;
use crate::error::{Result, SqlState, sql_err};
use crate::sql::script::is_complete;

const PROMPT: &str = "vatic> ";
const CONTINUATION: &str = "    -> ";
const HISTORY_ENTRIES: usize = 10_000;
/// A larger history file is ignored.
const HISTORY_BYTES_MAX: u64 = 32 << 20;
/// Statements with one of these words are not added to the history.
const SECRETS: &[&str] = &["PASSWORD", "SECRET", "TOKEN", "CREDENTIAL", "ACCESS_KEY"];

/// Runs statements from the terminal until the user leaves.
pub async fn run_interactive(engine: &Engine, start: Start) -> Exit {
    match interact(engine, start).await {
        Ok(exit) => exit,
        Err(error) => refuse(&error),
    }
}

async fn interact(engine: &Engine, start: Start) -> Result<Exit> {
    let mut shell = Shell::new(engine, &start, true)?;
    prepare(&mut shell, &start).await?;
    if shell.settings.with_footer {
        say(&format!(
            "vatic {}. \\? for help, \\q to leave.\n",
            env!("CARGO_PKG_VERSION")
        ));
    }
    for path in &start.start_up {
        // An error in a start-up file must not keep the user from the shell.
        match read_file(path) {
            Ok(script) => {
                if let Flow::Exit(exit) = shell.script(&script).await {
                    return Ok(exit);
                }
                if shell.take_failure() {
                    say(&format!("(in {})\n", path.display()));
                }
            }
            Err(error) => {
                refuse(&error);
            }
        }
    }
    let mut editor = Editor::open(&shell, &start)?;
    let mut typed = String::new();
    loop {
        let prompt = if typed.is_empty() {
            PROMPT
        } else {
            CONTINUATION
        };
        shell.signals.at_prompt(true);
        let line = editor.read(prompt, &typed).await?;
        shell.signals.at_prompt(false);
        match line {
            Line::Text(line) => {
                if typed.is_empty() && line.trim().is_empty() {
                    continue;
                }
                if typed.is_empty() && ["exit", "quit"].contains(&line.trim()) {
                    return Ok(Exit::Success);
                }
                if typed.is_empty() && line.trim() == "help" {
                    shell.script("\\?").await;
                    continue;
                }
                typed.push_str(&line);
                typed.push('\n');
                if !is_complete(&typed) {
                    continue;
                }
                editor.remember(&typed);
                shell.signals.forget();
                let text = std::mem::take(&mut typed);
                match shell.script(&text).await {
                    // An error was reported; the session continues.
                    Flow::Next | Flow::Failed => {}
                    Flow::Quit => return Ok(Exit::Success),
                    Flow::Exit(Exit::Success) => {}
                    Flow::Exit(exit) => return Ok(exit),
                }
            }
            Line::Interrupted => typed.clear(),
            Line::End if typed.is_empty() => return Ok(Exit::Success),
            Line::End => typed.clear(),
        }
    }
}

enum Line {
    Text(String),
    Interrupted,
    End,
}

type Inner = rustyline::Editor<Assistant, FileHistory>;

/// The line editor. Its reads block, so each read runs on a blocking thread.
struct Editor {
    inner: Option<Inner>,
    history_file: Option<PathBuf>,
    history: Arc<Mutex<Vec<String>>>,
}

impl Editor {
    fn open(shell: &Shell, start: &Start) -> Result<Self> {
        let color = match shell.settings.with_color {
            true => rustyline::ColorMode::Enabled,
            false => rustyline::ColorMode::Disabled,
        };
        let config = Config::builder()
            .max_history_size(HISTORY_ENTRIES)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(terminal_err)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .color_mode(color)
            .bracketed_paste(true)
            .build();
        let mut inner = Inner::with_config(config).map_err(terminal_err)?;
        inner.set_helper(Some(Assistant {
            completion: Completion::new(
                shell.session().clone(),
                shell.remote().cloned(),
                start.workers.clone(),
            ),
            with_color: shell.settings.with_color,
            before: String::new(),
        }));
        let history_file = history_file();
        let history = Arc::clone(&shell.history);
        if let Some(path) = &history_file {
            match std::fs::metadata(path) {
                Ok(file) if file.len() > HISTORY_BYTES_MAX => {
                    say(&format!(
                        "the history file {} is too large and is ignored\n",
                        path.display()
                    ));
                }
                // The file is missing at the first start; an unreadable file is not worth an error.
                _ => drop(inner.load_history(path)),
            }
            if let Ok(mut entries) = history.lock() {
                let known = inner.history();
                let found = (0..known.len()).filter_map(|index| {
                    let entry = known.get(index, SearchDirection::Forward).ok()??;
                    Some(entry.entry.into_owned())
                });
                entries.extend(found);
            }
        }
        Ok(Self {
            inner: Some(inner),
            history_file,
            history,
        })
    }

    /// Reads a line of a statement; `before` holds the lines above it.
    async fn read(&mut self, prompt: &'static str, before: &str) -> Result<Line> {
        let lost = || sql_err(SqlState::Internal, "the line editor is lost");
        let mut inner = self.inner.take().ok_or_else(lost)?;
        if let Some(helper) = inner.helper_mut() {
            before.clone_into(&mut helper.before);
        }
        let reading = tokio::task::spawn_blocking(move || {
            let line = inner.readline(prompt);
            (inner, line)
        });
        let (inner, line) = reading.await.map_err(|_| lost())?;
        self.inner = Some(inner);
        match line {
            Ok(line) => Ok(Line::Text(line)),
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
            Err(ReadlineError::Eof) => {
                // The next prompt begins on a new line.
                let _ = std::io::stderr().write_all(b"\n");
                Ok(Line::End)
            }
            Err(error) => Err(terminal_err(error)),
        }
    }

    fn remember(&mut self, statement: &str) {
        let Some(inner) = &mut self.inner else { return };
        let upper = statement.to_uppercase();
        if statement.starts_with(' ') || SECRETS.iter().any(|word| upper.contains(word)) {
            return;
        }
        let statement = statement.trim();
        // A failure to write the history must not prevent the statement.
        let _ = inner.add_history_entry(statement);
        if let Some(path) = &self.history_file {
            let _ = inner.append_history(path);
        }
        if let Ok(mut entries) = self.history.lock() {
            entries.push(statement.to_owned());
        }
    }
}

/// The history file: `$VATIC_HISTORY`, or a file in the user's state folder.
fn history_file() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("VATIC_HISTORY") {
        return (!path.is_empty()).then(|| path.into());
    }
    let directory = dirs::state_dir()
        .or_else(dirs::data_local_dir)?
        .join("vatic");
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}

/// Completes and colours typed text.
struct Assistant {
    completion: Completion,
    with_color: bool,
    /// The lines of the statement above this one.
    before: String,
}

impl Helper for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Validator for Assistant {}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let (line, after) = line.split_at(position);
        let (length, candidates) = self
            .completion
            .candidates(&format!("{}{line}", self.before), after);
        Ok((position - length.min(position), candidates))
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _position: usize) -> Cow<'l, str> {
        match self.with_color {
            true => Cow::Owned(highlight(&self.before, line)),
            false => Cow::Borrowed(line),
        }
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        _default: bool,
    ) -> Cow<'b, str> {
        match self.with_color {
            true => Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m")),
            false => Cow::Borrowed(prompt),
        }
    }

    fn highlight_char(&self, _line: &str, _position: usize, _kind: CmdKind) -> bool {
        self.with_color
    }
}

fn terminal_err(error: ReadlineError) -> datafusion::common::DataFusionError {
    sql_err(SqlState::Io, format!("terminal: {error}"))
}
