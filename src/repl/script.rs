//! The loop over the statements and commands of a script.

use super::command::{self, Done};
use super::exit::Flow;
use super::shell::Shell;
use crate::sql::script::{Item, Piece, items};

impl Shell {
    /// Runs a script.
    pub(super) async fn script(&mut self, script: &str) -> Flow {
        self.script_from(script, 0).await
    }

    /// Runs the part of a script that begins on this line, from 0.
    pub(super) async fn script_from(&mut self, script: &str, first_line: u64) -> Flow {
        // As a comment, the `#!` line keeps its line number.
        let executable = script.strip_prefix("#!").map(|rest| format!("--{rest}"));
        let script = executable.as_deref().unwrap_or(script);
        let mut pending: Option<Piece<'_>> = None;
        for item in items(script) {
            let flow = match item {
                Item::Statement(mut piece) => {
                    piece.line += first_line;
                    if !piece.is_complete {
                        pending = Some(piece);
                        continue;
                    }
                    self.piece(&piece).await
                }
                Item::Command { text, line } => {
                    let line = line + first_line;
                    let pending = pending.take();
                    let pending = pending.as_ref().map(|piece| piece.text);
                    match command::run(self, text, pending).await {
                        Ok(Done::Flow(flow)) => flow,
                        Ok(Done::Edited(script)) => Box::pin(self.script(&script)).await,
                        Ok(Done::Included(script)) => self.include(&script).await,
                        Err(error) => self.command_failed(&error, text, line),
                    }
                }
            };
            match flow {
                Flow::Next => {}
                Flow::Failed if self.settings.continues_on_error || self.is_interactive => {}
                flow => return flow,
            }
        }
        match pending {
            // The last statement needs no semicolon.
            Some(piece) => match self.piece(&piece).await {
                Flow::Failed if self.settings.continues_on_error => Flow::Next,
                flow => flow,
            },
            None => Flow::Next,
        }
    }

    /// Runs a script that another one includes.
    async fn include(&mut self, script: &str) -> Flow {
        self.depth += 1;
        let flow = Box::pin(self.script(script)).await;
        self.depth -= 1;
        match flow {
            // `\q` in an included file ends the file and not the session.
            Flow::Quit => Flow::Next,
            flow => flow,
        }
    }
}
