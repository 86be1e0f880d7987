//! Statements from arguments, files and standard input.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use datafusion::common::DataFusionError;

use super::settings::Settings;
use super::shell::{Shell, say};
use super::{Exit, Flow};
use crate::client::Remote;
use crate::engine::Engine;
use crate::error::{Result, SqlState, io_err, report, sql_err};
use crate::sql::script::is_complete;

/// A longer statement is an error: something that is no script was given.
const STATEMENT_BYTES_MAX: u64 = 64 << 20;

/// Where statements come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The argument of `-c`.
    Command(String),
    /// The argument of `-f`.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// What the shell is started with.
#[derive(Debug, Clone)]
pub struct Start {
    /// Where statements run.
    pub workers: tokio::runtime::Handle,
    /// The server that statements run on; this process if `None`.
    pub remote: Option<Remote>,
    /// How it shows things.
    pub settings: Settings,
    /// What is run before anything else, if a person types.
    pub start_up: Vec<PathBuf>,
    /// Where results go; standard output if `None`.
    pub output: Option<PathBuf>,
    /// Settings of the session.
    pub set: Vec<(String, String)>,
}

/// Runs all sources in one session, in order, and stops at the first error.
pub async fn run_batch(engine: &Engine, sources: Vec<Source>, start: Start) -> Exit {
    let mut shell = match Shell::new(engine, &start, false) {
        Ok(shell) => shell,
        Err(error) => return refuse(&error),
    };
    if let Err(error) = prepare(&mut shell, &start).await {
        return refuse(&error);
    }
    for path in &start.start_up {
        match read_file(path) {
            Ok(script) => match shell.script(&script).await {
                Flow::Next | Flow::Quit => {}
                flow => return flow.exit(),
            },
            Err(error) => return refuse(&error),
        }
    }
    for source in sources {
        let flow = match source {
            Source::Command(text) => shell.script(&text).await,
            Source::File(path) => match open(&path) {
                Ok(file) => stream(&mut shell, BufReader::new(file)).await,
                Err(error) => return refuse(&error),
            },
            Source::Stdin => stream(&mut shell, BufReader::new(std::io::stdin())).await,
        };
        match flow {
            Flow::Next => {}
            Flow::Quit => break,
            flow => return flow.exit(),
        }
    }
    shell.exit()
}

/// Applies what was asked for on the command line.
pub(super) async fn prepare(shell: &mut Shell, start: &Start) -> Result<()> {
    for (name, value) in &start.set {
        let statement = format!("SET {name} = {}", crate::sql::quoted(value));
        let rows = shell.rows(&statement).0.await?;
        futures::TryStreamExt::try_collect::<Vec<_>>(rows).await?;
    }
    if let Some(path) = start.output.as_ref().filter(|path| path.as_os_str() != "-") {
        shell.target = super::output::Target::file(&path.to_string_lossy())?;
    }
    Ok(())
}

/// Runs statements as they come: what feeds a pipe may wait for the answer to the last one.
async fn stream(shell: &mut Shell, input: BufReader<impl Read + Send + 'static>) -> Flow {
    let mut reader = (Lines::default(), input);
    loop {
        // Reading blocks, which must not keep the shell from hearing Ctrl-C.
        let reading = tokio::task::spawn_blocking(move || {
            let (mut lines, mut input) = reader;
            let next = lines.next(&mut input);
            (next, (lines, input))
        });
        let read = tokio::select! {
            read = reading => read,
            stop = shell.signals.stopped() => return stop.flow(false),
        };
        let Ok((next, rest)) = read else {
            return Flow::Exit(Exit::Failure);
        };
        reader = rest;
        match next {
            Ok(Some((script, line))) => match shell.script_from(&script, line).await {
                Flow::Next => {}
                flow => return flow,
            },
            Ok(None) => return Flow::Next,
            Err(error) => return Flow::Exit(refuse(&error)),
        }
    }
}

/// Cuts a stream of bytes into texts that end with a complete statement.
#[derive(Debug, Default)]
struct Lines {
    /// Lines and bytes that were given out.
    lines: u64,
    bytes: u64,
}

impl Lines {
    /// The next statements, and the line on which they begin, from 0.
    fn next(&mut self, input: &mut impl BufRead) -> Result<Option<(String, u64)>> {
        let mut text = String::new();
        let mut lines = 0;
        loop {
            let mut line = Vec::new();
            let left = STATEMENT_BYTES_MAX.saturating_sub(text.len() as u64);
            let read = input
                .take(left + 1)
                .read_until(b'\n', &mut line)
                .map_err(|error| io_err("the script", &error))?;
            if read as u64 > left {
                let message = format!(
                    "a statement is longer than {} MiB, from line {} on",
                    STATEMENT_BYTES_MAX >> 20,
                    self.lines + 1
                );
                return Err(sql_err(SqlState::Syntax, message));
            }
            let line = self.text_of(line, lines, text.len())?;
            text.push_str(&line);
            lines += u64::from(line.ends_with('\n'));
            let may_end =
                line.contains(';') || line.contains('\\') || line.trim_start().starts_with('.');
            if read == 0 || (may_end && is_complete(&text)) {
                break;
            }
        }
        if text.is_empty() {
            return Ok(None);
        }
        let begins = self.lines;
        self.lines += lines;
        self.bytes += text.len() as u64;
        Ok(Some((text, begins)))
    }

    fn text_of(&self, mut line: Vec<u8>, lines: u64, bytes: usize) -> Result<String> {
        // A byte order mark says nothing that UTF-8 would not.
        if self.bytes == 0 && bytes == 0 && line.starts_with(&[0xef, 0xbb, 0xbf]) {
            line.drain(..3);
        }
        String::from_utf8(line).map_err(|error| {
            let at = self.bytes + bytes as u64 + error.utf8_error().valid_up_to() as u64;
            let message = format!(
                "the script is not UTF-8: byte {at}, in line {}",
                self.lines + lines + 1
            );
            sql_err(SqlState::Syntax, message)
        })
    }
}

fn open(path: &Path) -> Result<File> {
    let failed = |error: std::io::Error| io_err(path.display(), &error);
    if fs::metadata(path).map_err(failed)?.is_dir() {
        let message = format!("{}: it is a directory", path.display());
        return Err(sql_err(SqlState::Io, message));
    }
    File::open(path).map_err(failed)
}

/// The text of a file of statements.
pub(super) fn read_file(path: &Path) -> Result<String> {
    let mut content = Vec::new();
    let read = open(path)?
        .take(STATEMENT_BYTES_MAX + 1)
        .read_to_end(&mut content)
        .map_err(|error| io_err(path.display(), &error))?;
    if read as u64 > STATEMENT_BYTES_MAX {
        let message = format!(
            "{}: a file of more than {} MiB is no script",
            path.display(),
            STATEMENT_BYTES_MAX >> 20
        );
        return Err(sql_err(SqlState::Syntax, message));
    }
    Lines::default().text_of(content, 0, 0)
}

/// Says why nothing can be run.
pub(super) fn refuse(error: &DataFusionError) -> Exit {
    let error = report(error);
    say(&format!(
        "error[{}]: {}\n",
        error.state.code(),
        error.message
    ));
    // Text that is no text is an error of the statement; a file that is not there is one of the call.
    if error.state == SqlState::Syntax {
        Exit::Failure
    } else {
        Exit::Usage
    }
}
