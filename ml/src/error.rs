//! The errors of this crate, by what the caller can do about them.

/// The errors of this crate. A message is one lower-case sentence that names the problem and the remedy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A NULL where none is allowed.
    #[error("{0}")]
    Null(String),
    /// An option out of range, or data that cannot be trained on.
    #[error("{0}")]
    Invalid(String),
    /// A training whose loss is no longer finite, which all ranks see at once.
    #[error("{0}")]
    Diverged(String),
    /// A column of a type that does not fit.
    #[error("{0}")]
    Type(String),
    /// Something that this build does not support.
    #[error("{0}")]
    Unsupported(String),
    /// A model file that is damaged, or that differs from its manifest.
    #[error("{0}")]
    Corrupt(String),
    /// The caller asked to stop.
    #[error("the statement was cancelled")]
    Cancelled,
    /// Another rank of this training failed first; its own error is the one to show.
    #[error("another worker of this training failed")]
    Peer,
    /// More memory than the caller allows.
    #[error("{0}")]
    Memory(String),
    /// A device without memory for the work.
    #[error("{0}")]
    DeviceMemory(String),
    /// A device that is missing, or that failed.
    #[error("{0}")]
    Device(String),
    /// An error of the operating system.
    #[error("{0}")]
    Io(String),
    /// A bug in Vatic, or in a library that it uses.
    #[error("{0}")]
    Internal(String),
}

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::Internal(error.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Io(error.to_string())
    }
}
