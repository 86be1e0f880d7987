//! How scripts and the program end.

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
pub(super) enum Flow {
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
    pub(super) fn exit(self) -> Exit {
        match self {
            Self::Next | Self::Quit => Exit::Success,
            Self::Failed => Exit::Failure,
            Self::Exit(exit) => exit,
        }
    }
}
