//! Statements from arguments, files and standard input.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use super::Exit;
use super::output::Format;
use super::progress::ProgressLine;
use super::run::{Settings, run_script, say, text_of};
use crate::engine::Engine;
use crate::error::{Result, SqlState, io_err, report, sql_err};

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

/// Runs all sources in one session, in order, and stops at the first error.
pub async fn run_batch(engine: &Engine, sources: Vec<Source>, format: Format) -> Exit {
    let progress = ProgressLine::new();
    let session = match engine.session() {
        Ok(session) => session.with_progress(progress.listener()),
        Err(error) => return refuse(&error),
    };
    let settings = Settings {
        format,
        with_footer: false,
    };
    for source in sources {
        let script = match read(source) {
            Ok(script) => script,
            Err(error) => return refuse(&error),
        };
        let exit = run_script(&session, &progress, &script, settings).await;
        if exit != Exit::Success {
            return exit;
        }
    }
    Exit::Success
}

fn refuse(error: &datafusion::common::DataFusionError) -> Exit {
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

fn read(source: Source) -> Result<String> {
    let mut content = Vec::new();
    match source {
        Source::Command(text) => return Ok(text),
        Source::File(path) => {
            let failed = |error: std::io::Error| io_err(path.display(), &error);
            if fs::metadata(&path).map_err(failed)?.is_dir() {
                return Err(sql_err(
                    SqlState::Io,
                    format!("{}: it is a directory", path.display()),
                ));
            }
            File::open(&path)
                .and_then(|mut file| file.read_to_end(&mut content))
                .map_err(failed)?;
        }
        Source::Stdin => {
            let failed = |error: std::io::Error| io_err("standard input", &error);
            std::io::stdin()
                .lock()
                .read_to_end(&mut content)
                .map_err(failed)?;
        }
    }
    text_of(content)
}
