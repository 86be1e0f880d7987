//! The sub-command `vatic completions`, which prints the script by which a shell completes the arguments of `vatic`.

use std::io::Write;

use clap::Command;
use clap_complete::aot::{Shell, generate};
use vatic::repl::Exit;

/// Prints the script of a shell for this command line.
pub(crate) fn run(shell: Shell, mut command: Command) -> anyhow::Result<Exit> {
    // Written at once: clap_complete panics if its output is closed.
    let mut script = Vec::new();
    generate(shell, &mut command, "vatic", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Exit::Success)
}
