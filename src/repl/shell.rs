//! [`Shell`]: one session of the shell. It runs statements, writes their results and says their errors.

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
use super::output::{BROKEN_PIPE, Target, Written, write};
use super::progress::ProgressLine;
use super::settings::Settings;
use super::signals::Signals;
use crate::client::Remote;
use crate::engine::Engine;
use crate::error::{Position, Result, SqlError, SqlState, report, sql_err};
use crate::session::Session;
use crate::session::task::{rows_of, run_answer};
use crate::sql::script::Piece;

/// What is given to a statement to let go of what it holds.
const GRACE: Duration = Duration::from_secs(1);

/// What the shell is started with.
#[derive(Debug, Clone)]
pub struct Start {
    /// Where statements run.
    pub workers: Handle,
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

/// One session of the shell.
#[derive(Debug)]
pub(super) struct Shell {
    session: Session,
    /// The session on a server, if statements run there; that of this process then only knows the functions.
    remote: Option<Remote>,
    /// Where statements run. The shell itself runs elsewhere: an operator that computes for seconds must not keep it from
    /// hearing Ctrl-C.
    workers: Handle,
    pub(super) settings: Settings,
    pub(super) target: Target,
    pub(super) signals: Signals,
    progress: ProgressLine,
    pub(super) is_interactive: bool,
    /// The statements so far.
    pub(super) history: Arc<Mutex<Vec<String>>>,
    last: Option<String>,
    /// Files that include the one that is run.
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

    /// How the program ends after all scripts.
    pub(super) fn exit(&self) -> Exit {
        if self.has_failed && !self.is_interactive {
            Exit::Failure
        } else {
            Exit::Success
        }
    }

    /// Whether something failed since this was last asked.
    pub(super) fn take_failure(&mut self) -> bool {
        std::mem::take(&mut self.has_failed)
    }

    /// The statement that was run last.
    pub(super) fn last(&self) -> Result<String> {
        let missing = || sql_err(SqlState::Syntax, "there is no statement before it");
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

    /// Runs a statement that stands in no script.
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
            Ok(Ok(written)) => {
                self.footer(written);
                Flow::Next
            }
            Ok(Err(error)) => self.failed(&error, piece),
            Err(stop) => {
                // Its files and records are cleaned up as it is dropped; the program must not end before.
                let _ = tokio::time::timeout(GRACE, gone).await;
                self.has_failed = true;
                self.complain("error[57014]: cancelled\n");
                stop.flow(self.is_interactive)
            }
        }
    }

    /// Runs a statement among the workers and gives its rows. Dropping them, or the future, cancels it; once it has let
    /// go of all that it held, the receiver hears of it.
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

    /// Writes the rows of a query that a command makes.
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
        self.footer(written);
        Ok(())
    }

    /// Writes a text to where results go.
    pub(super) fn print(&mut self, text: &str) -> Result<()> {
        self.target.print(&self.settings, text)
    }

    /// What the session works with.
    pub(super) fn info(&self) -> String {
        if let Some(remote) = &self.remote {
            let version = env!("CARGO_PKG_VERSION");
            return format!(
                "vatic {version}, all work on the server at {}",
                remote.url()
            );
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        format!(
            "vatic {}, all work in this process; data directory {}; {cores} cores",
            env!("CARGO_PKG_VERSION"),
            self.session.engine().data().root()
        )
    }

    fn footer(&self, written: Written) {
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

    /// Says why a command failed.
    pub(super) fn command_failed(
        &mut self,
        error: &DataFusionError,
        text: &str,
        line: u64,
    ) -> Flow {
        let piece = Piece {
            text,
            line,
            is_complete: true,
        };
        // Where in the statement that a command makes something is wrong says nothing of the command.
        let mut found = report(error);
        found.position = Some(Position { line: 1, column: 1 });
        self.failed(&found.into(), &piece)
    }

    fn failed(&mut self, error: &DataFusionError, piece: &Piece<'_>) -> Flow {
        let found = report(error);
        if found.message.ends_with(BROKEN_PIPE) {
            // As other programs do when `head` has seen enough.
            return Flow::Exit(Exit::Success);
        }
        self.has_failed = true;
        let mut text = describe(&found, piece);
        if self.settings.is_verbose {
            text.push_str(&format!("DETAIL: {error:?}\n"));
        }
        self.complain(&text);
        Flow::Failed
    }

    /// Says an error.
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

/// The error with its code, and the line it is about with a caret below.
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

/// Of a long line what stands around a column, and where the column is in that.
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

/// Writes to standard error; if nobody reads it there is nobody to tell.
pub(super) fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
