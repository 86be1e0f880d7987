//! Exit codes of the program, and control flow of scripts.

/// How the process of a shell ends.
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

/// What a script does after a statement or a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Continue with the next statement.
    Next,
    /// The statement failed, and the error was reported.
    Failed,
    /// The user wants to leave.
    Quit,
    /// End the program.
    Exit(Exit),
}

impl Flow {
    /// The exit of a script that ends with this flow.
    pub(super) fn exit(self) -> Exit {
        match self {
            Self::Next | Self::Quit => Exit::Success,
            Self::Failed => Exit::Failure,
            Self::Exit(exit) => exit,
        }
    }
}
