//! The error that names a clause.

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;

use crate::error::{SqlState, sql_err};

/// The result of a check; the error names the clause.
pub(super) type Found = Result<(), String>;

/// Refuses a clause if the statement contains it.
pub(super) fn refuse(is_there: bool, clause: &str) -> Found {
    match is_there {
        true => Err(format!("{clause} is not supported; leave it out")),
        false => Ok(()),
    }
}

pub(super) fn flow(found: Found) -> ControlFlow<DataFusionError> {
    match found {
        Ok(()) => ControlFlow::Continue(()),
        Err(message) => ControlFlow::Break(sql_err(SqlState::Unsupported, message)),
    }
}
