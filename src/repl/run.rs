//! One statement: its rows on standard output, its error on standard error, Ctrl-C.

use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures::FutureExt;

use super::Exit;
use super::output::{BROKEN_PIPE, Format, write};
use super::progress::ProgressLine;
use crate::error::{Position, Result, SqlError, SqlState, report, sql_err};
use crate::session::Session;
use crate::sql::script::{Piece, split};

/// How statements are run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) format: Format,
    /// Whether to say how many rows there were and how long they took.
    pub(super) with_footer: bool,
}

/// Runs the statements of a script in order and stops at the first error.
pub(super) async fn run_script(
    session: &Session,
    progress: &ProgressLine,
    script: &str,
    settings: Settings,
) -> Exit {
    for piece in split(script) {
        let exit = run_statement(session, progress, &piece, settings).await;
        if exit != Exit::Success {
            return exit;
        }
    }
    Exit::Success
}

async fn run_statement(
    session: &Session,
    progress: &ProgressLine,
    piece: &Piece<'_>,
    settings: Settings,
) -> Exit {
    let started = Instant::now();
    let work = async {
        let rows = session.sql(piece.text).await?;
        let rows = progress.pause_on_first_row(rows);
        write(rows, settings.format).await
    };
    let result = tokio::select! {
        // A panic is a bug, but it costs one statement and not the session.
        result = AssertUnwindSafe(work).catch_unwind() => result.unwrap_or_else(|_| Err(panicked())),
        _ = tokio::signal::ctrl_c() => Err(interrupted()),
    };
    progress.clear();
    match result {
        Ok(written) => {
            if settings.with_footer {
                let rows = match (written.has_columns, written.rows) {
                    (false, _) => "OK.".to_owned(),
                    (true, 1) => "1 row.".to_owned(),
                    (true, rows) if written.is_cut => {
                        format!("First {rows} rows; use LIMIT, or -c to see all.")
                    }
                    (true, rows) => format!("{rows} rows."),
                };
                say(&format!(
                    "{rows} Elapsed {:.3} s.\n",
                    started.elapsed().as_secs_f64()
                ));
            }
            Exit::Success
        }
        Err(error) => {
            let error = report(&error);
            match (error.state, error.message.as_str()) {
                // As other programs do when `head` has seen enough.
                (SqlState::Cancelled, BROKEN_PIPE) => Exit::Success,
                (SqlState::Cancelled, _) => {
                    say("error[57014]: cancelled\n");
                    Exit::Interrupted
                }
                _ => {
                    say(&describe(&error, piece));
                    Exit::Failure
                }
            }
        }
    }
}

fn panicked() -> datafusion::common::DataFusionError {
    sql_err(
        SqlState::Internal,
        "the statement ended in a panic, which is a bug; the session goes on",
    )
}

fn interrupted() -> datafusion::common::DataFusionError {
    sql_err(SqlState::Cancelled, "cancelled")
}

/// The error with its code, and the line it is about with a caret below.
fn describe(error: &SqlError, piece: &Piece<'_>) -> String {
    let mut text = format!("error[{}]: {}\n", error.state.code(), error.message);
    if let Some(Position { line, column }) = error.position
        && let Some(source) = piece.text.lines().nth((line as usize).saturating_sub(1))
    {
        let prefix = format!("LINE {}: ", line + piece.line);
        let before: String = source
            .chars()
            .take((column as usize).saturating_sub(1))
            .collect();
        let indent: String = before
            .chars()
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        text.push_str(&format!(
            "{prefix}{source}\n{}{indent}^\n",
            " ".repeat(prefix.len())
        ));
    }
    text
}

/// Writes to standard error; if nobody reads it there is nobody to tell.
pub(super) fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Reads a script, which must be text.
pub(super) fn text_of(content: Vec<u8>) -> Result<String> {
    String::from_utf8(content).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        sql_err(
            SqlState::Syntax,
            format!("the script is not UTF-8: byte {at}, in line {line}"),
        )
    })
}
