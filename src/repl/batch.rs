//! Runs statements from arguments, files and standard input.

use std::io::{BufReader, Read};
use std::path::PathBuf;

use datafusion::common::DataFusionError;

use super::exit::{Exit, Flow};
use super::read::{Lines, open, read_file};
use super::shell::{Shell, Start, say};
use crate::engine::Engine;
use crate::error::{Result, SqlState, report};

/// A source of statements.
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

/// Applies the settings and the output of the command line.
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

/// Runs statements as they arrive: a program that feeds the pipe may wait for the last answer before it sends more.
async fn stream(shell: &mut Shell, input: BufReader<impl Read + Send + 'static>) -> Flow {
    let mut reader = (Lines::default(), input);
    loop {
        // Reading blocks, so a blocking thread reads; otherwise the shell would not notice Ctrl-C.
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

/// Reports why nothing can be run.
pub(super) fn refuse(error: &DataFusionError) -> Exit {
    let error = report(error);
    say(&format!(
        "error[{}]: {}\n",
        error.state.code(),
        error.message
    ));
    // Input that is not UTF-8 is an error of the statement; a missing file is an error of the call.
    if error.state == SqlState::Syntax {
        Exit::Failure
    } else {
        Exit::Usage
    }
}
