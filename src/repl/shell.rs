//! [`Shell`]: one session of the shell, which runs statements, writes their results and reports their errors.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::exit::{Exit, Flow};
use super::highlight::{ERROR, RESET};
use super::output::{ReaderGone, Target, Written, write};
use super::progress::ProgressLine;
use super::settings::Settings;
use super::signals::Signals;
use crate::client::Remote;
use crate::engine::Engine;
use crate::error::{Position, Result, SqlError, SqlState, report, sql_err};
use crate::session::Session;
use crate::session::task::{rows_of, run_answer};
use crate::sql::script::Piece;

/// How long a cancelled statement may take to release its resources.
const GRACE: Duration = Duration::from_secs(1);

/// The start options of a shell.
#[derive(Debug, Clone)]
pub struct Start {
    /// The runtime that statements run on.
    pub workers: Handle,
    /// The server that statements run on; this process if `None`.
    pub remote: Option<Remote>,
    /// Display settings.
    pub settings: Settings,
    /// Start-up files, run first in an interactive shell.
    pub start_up: Vec<PathBuf>,
    /// The output file; standard output if `None`.
    pub output: Option<PathBuf>,
    /// Initial settings of the session.
    pub set: Vec<(String, String)>,
}

/// One session of the shell.
#[derive(Debug)]
pub(super) struct Shell {
    session: Session,
    /// The session on a server, if statements run there; the local session then only lists functions.
    remote: Option<Remote>,
    /// The runtime that statements run on. The shell itself runs on another thread: an operator that computes for seconds
    /// must not keep the shell from noticing Ctrl-C.
    workers: Handle,
    pub(super) settings: Settings,
    pub(super) target: Target,
    pub(super) signals: Signals,
    progress: ProgressLine,
    pub(super) is_interactive: bool,
    /// The history of statements.
    pub(super) history: Arc<Mutex<Vec<String>>>,
    last: Option<String>,
    /// The number of files that include the running script.
    pub(super) depth: usize,
    has_failed: bool,
}

impl Shell {
    pub(super) fn new(engine: &Engine, start: &Start, is_interactive: bool) -> Result<Self> {
        let settings = start.settings.clone();
        let progress = ProgressLine::new(settings.progress);
        Ok(Self {
            session: engine.session()?.with_progress(progress.listener()),
            remote: start
                .remote
                .clone()
                .map(|remote| remote.with_progress(progress.listener())),
            workers: start.workers.clone(),
            settings,
            target: Target::default(),
            signals: Signals::watch(),
            progress,
            is_interactive,
            history: Arc::default(),
            last: None,
            depth: 0,
            has_failed: false,
        })
    }

    pub(super) fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// The exit of the program after all scripts.
    pub(super) fn exit(&self) -> Exit {
        if self.has_failed && !self.is_interactive {
            Exit::Failure
        } else {
            Exit::Success
        }
    }

    /// Whether a statement failed since the last call of this function.
    pub(super) fn take_failure(&mut self) -> bool {
        std::mem::take(&mut self.has_failed)
    }

    /// The last statement.
    pub(super) fn last(&self) -> Result<String> {
        let missing = || sql_err(SqlState::Syntax, "there is no previous statement");
        self.last.clone().ok_or_else(missing)
    }

    /// Runs a statement of a script.
    pub(super) async fn piece(&mut self, piece: &Piece<'_>) -> Flow {
        if ["exit", "quit"]
            .iter()
            .any(|word| piece.text.eq_ignore_ascii_case(word))
        {
            return Flow::Quit;
        }
        self.last = Some(piece.text.to_owned());
        self.run(piece).await
    }

    /// Runs a statement that is not part of a script.
    pub(super) async fn statement(&mut self, text: &str) -> Flow {
        self.run(&Piece {
            text,
            line: 0,
            is_complete: true,
        })
        .await
    }

    async fn run(&mut self, piece: &Piece<'_>) -> Flow {
        let waiting = self.progress.waiting();
        let started = Instant::now();
        let (rows, gone) = self.rows(piece.text);
        let work = async {
            let rows = rows.await?;
            let is_shown = self.target.is_shown(&self.settings);
            let rows = self.progress.watch(rows, is_shown);
            write(rows, &self.settings, &mut self.target, started).await
        };
        let result = tokio::select! {
            result = work => Ok(result),
            stop = self.signals.stopped() => Err(stop),
        };
        drop(waiting);
        self.progress.clear();
        match result {
            Ok(Ok(mut written)) => {
                let trained = written.trained.take();
                if let Some(model) = trained.filter(|_| self.settings.with_plots) {
                    Box::pin(self.plot_trained(&model)).await;
                }
                self.footer(&written);
                Flow::Next
            }
            Ok(Err(error)) => self.failed(&error, piece),
            Err(stop) => {
                // Dropping the statement cleans up its files and records; the program must not end before that.
                let _ = tokio::time::timeout(GRACE, gone).await;
                self.has_failed = true;
                self.complain("error[57014]: cancelled\n");
                stop.flow(self.is_interactive)
            }
        }
    }

    /// Runs a statement on the workers and returns its rows. Dropping the rows or the future cancels the statement; the
    /// receiver resolves once the statement has released its resources.
    pub(super) fn rows(
        &self,
        text: &str,
    ) -> (
        impl Future<Output = Result<SendableRecordBatchStream>> + use<>,
        oneshot::Receiver<()>,
    ) {
        let text = text.to_owned();
        let answer = match self.remote.clone() {
            Some(remote) => async move { remote.answer(&text).await }.boxed(),
            None => {
                let session = self.session.clone();
                async move { session.answer(&text).await }.boxed()
            }
        };
        let (answer, gone) = run_answer(answer, &self.workers, std::future::pending().boxed());
        (rows_of(answer), gone)
    }

    /// Runs the query of a command and writes its rows.
    pub(super) async fn query(&mut self, text: &str) -> Result<()> {
        let rows = tokio::select! {
            rows = self.rows(text).0 => rows?,
            _ = self.signals.stopped() => return Err(cancelled()),
        };
        self.write(rows).await
    }

    /// Writes rows.
    pub(super) async fn write(&mut self, rows: SendableRecordBatchStream) -> Result<()> {
        let written = tokio::select! {
            written = write(rows, &self.settings, &mut self.target, Instant::now()) => written?,
            _ = self.signals.stopped() => return Err(cancelled()),
        };
        self.footer(&written);
        Ok(())
    }

    /// Writes a text to the current output.
    pub(super) fn print(&mut self, text: &str) -> Result<()> {
        self.target.print(&self.settings, text)
    }

    /// The version, the server or data directory, and the number of cores.
    pub(super) fn info(&self) -> String {
        if let Some(remote) = &self.remote {
            let version = env!("CARGO_PKG_VERSION");
            return format!(
                "vatic {version}, statements run on the server at {}",
                remote.url()
            );
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        format!(
            "vatic {}, statements run in this process; data directory {}; {cores} cores",
            env!("CARGO_PKG_VERSION"),
            self.session.engine().data().root()
        )
    }

    fn footer(&self, written: &Written) {
        if !self.settings.with_footer && !self.settings.with_timing {
            return;
        }
        let mut text = match (written.has_columns, written.rows) {
            (false, _) => "OK.".to_owned(),
            (true, 1) => "1 row.".to_owned(),
            (true, rows) if written.shown < rows && written.shown > 0 => {
                format!("{rows} rows ({} shown).", written.shown)
            }
            (true, rows) => format!("{rows} rows."),
        };
        if self.settings.with_timing {
            text.push_str(&format!(" Elapsed {:.4} s.", written.seconds));
        }
        say(&format!("{text}\n"));
    }

    /// Reports the failure of a command.
    pub(super) fn command_failed(
        &mut self,
        error: &DataFusionError,
        text: &str,
        line: u64,
    ) -> Flow {
        if ReaderGone::is(error) {
            return Flow::Exit(Exit::Success);
        }
        let piece = Piece {
            text,
            line,
            is_complete: true,
        };
        // The error position refers to the command's generated statement and not to the command's text.
        let mut found = report(error);
        found.position = Some(Position { line: 1, column: 1 });
        self.failed(&found.into(), &piece)
    }

    fn failed(&mut self, error: &DataFusionError, piece: &Piece<'_>) -> Flow {
        if ReaderGone::is(error) {
            // Other programs also exit quietly when `head` closes the pipe.
            return Flow::Exit(Exit::Success);
        }
        let found = report(error);
        self.has_failed = true;
        let mut text = describe(&found, piece);
        if self.settings.is_verbose {
            text.push_str(&format!("DETAIL: {error:?}\n"));
        }
        self.complain(&text);
        Flow::Failed
    }

    /// Writes an error to standard error.
    pub(super) fn complain(&self, text: &str) {
        match text.split_once("]: ").filter(|_| self.settings.with_color) {
            Some((code, rest)) => say(&format!("{ERROR}{code}]:{RESET} {rest}")),
            None => say(text),
        }
    }
}

fn cancelled() -> DataFusionError {
    sql_err(SqlState::Cancelled, "cancelled")
}

/// The error with its code, and the offending line with a caret below.
fn describe(error: &SqlError, piece: &Piece<'_>) -> String {
    let mut text = format!("error[{}]: {}\n", error.state.code(), error.message);
    if let Some(Position { line, column }) = error.position
        && let Some(source) = piece.text.lines().nth((line as usize).saturating_sub(1))
    {
        let prefix = format!("LINE {}: ", line + piece.line);
        let (source, column) = excerpt(source, (column as usize).saturating_sub(1));
        let before: String = source.chars().take(column).collect();
        let indent: String = before
            .chars()
            .map(|c| {
                if c == '\t' {
                    "\t".to_owned()
                } else {
                    " ".repeat(unicode_width::UnicodeWidthChar::width(c).unwrap_or(1))
                }
            })
            .collect();
        text.push_str(&format!(
            "{prefix}{source}\n{}{indent}^\n",
            " ".repeat(prefix.len())
        ));
    }
    text
}

/// The part of a long line around a column, and the column within that part.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    const AROUND: usize = 60;
    if line.chars().count() <= 2 * AROUND {
        return (line.to_owned(), column);
    }
    let start = column.saturating_sub(AROUND);
    let part: String = line.chars().skip(start).take(2 * AROUND).collect();
    match start {
        0 => (format!("{part}…"), column),
        _ => (format!("…{part}…"), column - start + 1),
    }
}

/// Writes to standard error; write errors are ignored because they could not be reported.
pub(super) fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
