//! [`SqlError`]: an error of Vatic, and the functions that make one.

use std::fmt;

use datafusion::common::DataFusionError;
use serde::{Deserialize, Serialize};

use super::state::SqlState;

/// The result of all fallible functions in this crate.
pub type Result<T, E = DataFusionError> = std::result::Result<T, E>;

/// A position in the text of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
}

/// An error of Vatic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SqlError {
    /// Its code.
    pub state: SqlState,
    /// One sentence: the problem, the object, and what helps.
    pub message: String,
    /// The position in the statement, if it is known.
    pub position: Option<Position>,
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SqlError {}

/// Creates an error with this code and message.
pub(crate) fn sql_err(state: SqlState, message: impl Into<String>) -> DataFusionError {
    SqlError {
        state,
        message: message.into(),
        position: None,
    }
    .into()
}

/// Creates the error of a failed file operation.
pub(crate) fn io_err(what: impl fmt::Display, error: &std::io::Error) -> DataFusionError {
    sql_err(SqlState::Io, format!("{what}: {error}"))
}

impl From<SqlError> for DataFusionError {
    fn from(error: SqlError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

/// Converts an error of `vatic_ml`.
pub(crate) fn ml_err(error: vatic_ml::Error) -> DataFusionError {
    use vatic_ml::Error;
    let state = match &error {
        Error::Null(_) => SqlState::Null,
        Error::Invalid(_) | Error::Diverged(_) => SqlState::InvalidParameter,
        Error::Type(_) => SqlState::TypeMismatch,
        Error::Unsupported(_) => SqlState::Unsupported,
        Error::Corrupt(_) | Error::Io(_) => SqlState::Io,
        Error::Cancelled => SqlState::Cancelled,
        Error::Peer => SqlState::Peer,
        Error::Memory(_) | Error::DeviceMemory(_) => SqlState::OutOfMemory,
        Error::Device(_) => SqlState::NoResources,
        Error::Internal(_) => SqlState::Internal,
    };
    sql_err(state, error.to_string())
}
