//! The shell: statements from a terminal, a file, an argument or standard input; results as tables or CSV.
//!
//! * `input` where statements come from, in a terminal
//! * `batch` where they come from otherwise, and exit codes
//! * `run` one statement: its rows, its error, Ctrl-C
//! * `output` rows as text
//! * `progress` the line that a training shows while it runs

mod batch;
mod input;
mod output;
mod progress;
mod run;

pub use batch::{Source, run_batch};
pub use input::run_interactive;
pub use output::Format;

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
}

impl Exit {
    /// The exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Interrupted => 130,
        }
    }
}
