//! The shell: statements and commands from a terminal, a file, an argument or standard input.
//!
//! ```text
//! terminal ─ input ─┐
//!                   ├─ Shell: script ─ statement ─ output ─▶ screen, pager, file
//! -c, -f, pipe ─ batch ┘         └─ command
//! ```
//! * `settings` how the shell shows things
//! * `batch` where statements come from without a terminal, and exit codes
//! * `input` where they come from in a terminal; `context` what may stand at the cursor, `complete` what Tab offers there, `highlight` colours
//! * `shell` one session: scripts, statements, errors
//! * `command` the list of commands
//! * `signals` Ctrl-C, SIGTERM, SIGHUP
//! * `output` rows as text
//! * `progress` the line that is shown while something runs

mod batch;
mod command;
mod complete;
mod context;
mod highlight;
mod input;
mod output;
mod progress;
mod settings;
mod shell;
mod signals;

pub use batch::{Source, Start, run_batch};
pub use input::run_interactive;
pub use output::Format;
pub use settings::{Settings, When, has_color};

/// How a process of the shell ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything worked.
    Success,
    /// A statement failed.
    Failure,
    /// Bad arguments, or a source that cannot be read.
    Usage,
    /// Ctrl-C.
    Interrupted,
    /// Another signal.
    Signal(u8),
}

impl Exit {
    /// The exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Interrupted => 130,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// How a script goes on after a statement or a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// With the next one.
    Next,
    /// It failed, which was said.
    Failed,
    /// The user wants to leave.
    Quit,
    /// The program is to end.
    Exit(Exit),
}

impl Flow {
    /// The exit that a script ends with which does not go on.
    fn exit(self) -> Exit {
        match self {
            Self::Next | Self::Quit => Exit::Success,
            Self::Failed => Exit::Failure,
            Self::Exit(exit) => exit,
        }
    }
}
