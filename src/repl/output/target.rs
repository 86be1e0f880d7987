//! The output of the shell: standard output, a file, or a pager for results that do not fit on the screen.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use datafusion::common::DataFusionError;

use crate::error::{Result, io_err};
use crate::repl::format::Format;
use crate::repl::settings::{Settings, terminal_size};

/// The default pager.
const PAGER: &str = "less -SRFX";

/// The error that ends the process silently: nobody reads standard output any more.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl ReaderGone {
    /// Whether an error is this one.
    pub(crate) fn is(error: &DataFusionError) -> bool {
        match error {
            DataFusionError::External(inner) => inner.is::<Self>(),
            DataFusionError::IoError(inner) => {
                inner.get_ref().is_some_and(|inner| inner.is::<Self>())
            }
            _ => false,
        }
    }
}

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of standard output has gone")
    }
}

impl std::error::Error for ReaderGone {}

impl From<ReaderGone> for DataFusionError {
    fn from(error: ReaderGone) -> Self {
        Self::External(Box::new(error))
    }
}

/// The current output of results.
#[derive(Debug, Default)]
pub(crate) enum Target {
    /// Standard output.
    #[default]
    Stdout,
    /// An open file.
    File(PathBuf, BufWriter<File>),
}

impl Target {
    /// Creates or truncates a file.
    pub(crate) fn file(path: &str) -> Result<Self> {
        let path = PathBuf::from(path);
        let file = File::create(&path).map_err(|error| io_err(path.display(), &error))?;
        Ok(Self::File(path, BufWriter::new(file)))
    }

    /// Whether rows are written to the screen as they arrive.
    pub(crate) fn is_shown(&self, settings: &Settings) -> bool {
        let is_collected = matches!(settings.effective_format(), Format::Table | Format::Box);
        let is_screen = matches!(self, Self::Stdout) && io::stdout().is_terminal();
        is_screen && !is_collected
    }

    /// Writes a text as a separate result.
    pub(crate) fn print(&mut self, settings: &Settings, text: &str) -> Result<()> {
        let mut out = self.open(settings)?;
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        out.finish()
    }

    pub(super) fn open(&mut self, settings: &Settings) -> Result<Out<'_>> {
        let sink = match self {
            Self::File(path, file) => Sink::File(path, file),
            Self::Stdout => {
                let height = settings
                    .with_pager
                    .then(terminal_size)
                    .flatten()
                    .map(|(_, height)| height);
                match height {
                    // Two lines are reserved for the prompt and the footer.
                    Some(height) if height > 4 => Sink::Screen {
                        text: Vec::new(),
                        lines_left: height - 2,
                        pager: None,
                    },
                    _ => Sink::Stdout(BufWriter::with_capacity(1 << 16, io::stdout())),
                }
            }
        };
        Ok(Out {
            sink,
            is_unread: false,
        })
    }
}

/// The output of one result.
pub(super) struct Out<'a> {
    sink: Sink<'a>,
    /// Whether the reader of standard output has gone. Foreign writers pass errors on as text, which does not tell.
    is_unread: bool,
}

enum Sink<'a> {
    Stdout(BufWriter<io::Stdout>),
    File(&'a PathBuf, &'a mut BufWriter<File>),
    /// Buffered until it is clear whether the text fits on the screen.
    Screen {
        text: Vec<u8>,
        lines_left: usize,
        pager: Option<Pager>,
    },
}

/// A pager. Dropping it waits for its end, because the pager owns the terminal until then.
struct Pager(Child);

impl Drop for Pager {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // The pager's exit status does not matter.
        let _ = self.0.wait();
    }
}

impl Out<'_> {
    /// Whether the output is shown on a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        match self.sink {
            Sink::File(..) => false,
            Sink::Stdout(_) | Sink::Screen { .. } => io::stdout().is_terminal(),
        }
    }

    /// The outcome of writing, with [`ReaderGone`] as its error if that is the reason.
    pub(super) fn outcome(&self, written: Result<()>) -> Result<()> {
        match self.is_unread {
            true => Err(ReaderGone.into()),
            false => written,
        }
    }

    /// Writes the buffered text, and waits for the pager.
    pub(super) fn finish(self) -> Result<()> {
        match self.sink {
            Sink::Stdout(mut out) => out.flush().map_err(out_err),
            Sink::File(path, file) => file.flush().map_err(|error| io_err(path.display(), &error)),
            Sink::Screen {
                pager: Some(pager), ..
            } => {
                drop(pager);
                Ok(())
            }
            Sink::Screen { text, .. } => {
                let mut out = io::stdout().lock();
                out.write_all(&text)
                    .and_then(|()| out.flush())
                    .map_err(out_err)
            }
        }
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Stdout(out) => {
                let written = out.write_all(bytes);
                written.map_err(|error| broken_pipe(error, &mut self.is_unread))?;
            }
            Sink::File(_, file) => file.write_all(bytes)?,
            Sink::Screen {
                text,
                lines_left,
                pager,
            } => {
                if pager.is_none() {
                    text.extend_from_slice(bytes);
                    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
                    *lines_left = lines_left.saturating_sub(lines);
                    if *lines_left > 0 {
                        return Ok(bytes.len());
                    }
                    match start_pager() {
                        Some(child) => *pager = Some(child),
                        // Without a pager, the text goes to the terminal.
                        None => {
                            let mut out = BufWriter::with_capacity(1 << 16, io::stdout());
                            out.write_all(text)?;
                            self.sink = Sink::Stdout(out);
                            return Ok(bytes.len());
                        }
                    }
                } else {
                    text.extend_from_slice(bytes);
                }
                if let Some(stdin) = pager.as_mut().and_then(|pager| pager.0.stdin.as_mut()) {
                    // The user may quit the pager early.
                    let _ = stdin.write_all(text);
                    text.clear();
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Stdout(out) => {
                let flushed = out.flush();
                flushed.map_err(|error| broken_pipe(error, &mut self.is_unread))
            }
            Sink::File(_, file) => file.flush(),
            Sink::Screen { .. } => Ok(()),
        }
    }
}

fn start_pager() -> Option<Pager> {
    let command = std::env::var("PAGER").unwrap_or_else(|_| PAGER.into());
    let mut words = command.split_whitespace();
    Command::new(words.next()?)
        .args(words)
        .stdin(Stdio::piped())
        .spawn()
        .ok()
        .map(Pager)
}

/// The error of writing to standard output.
fn broken_pipe(error: io::Error, is_unread: &mut bool) -> io::Error {
    match error.kind() {
        ErrorKind::BrokenPipe => {
            *is_unread = true;
            io::Error::new(ErrorKind::BrokenPipe, ReaderGone)
        }
        _ => error,
    }
}

fn out_err(error: io::Error) -> DataFusionError {
    match error.kind() {
        ErrorKind::BrokenPipe => ReaderGone.into(),
        _ => io_err("standard output", &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{SqlState, sql_err};

    #[test]
    fn a_reader_that_is_gone_is_known_by_its_type_and_not_by_words() {
        let mut is_unread = false;
        let broken = broken_pipe(ErrorKind::BrokenPipe.into(), &mut is_unread);
        assert!(is_unread && ReaderGone::is(&broken.into()));
        assert!(ReaderGone::is(&out_err(ErrorKind::BrokenPipe.into())));
        // A statement may fail with any words, and with a pipe of its own.
        let words = sql_err(SqlState::Data, ReaderGone.to_string());
        assert!(!ReaderGone::is(&words));
        let other = io::Error::from(ErrorKind::BrokenPipe);
        assert!(!ReaderGone::is(&other.into()));
    }
}
