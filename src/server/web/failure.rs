//! [`Failure`]: what a reader is told instead of a page.

use axum::http::StatusCode;
use datafusion::common::DataFusionError;
use tonic::{Code, Status};

use crate::error::report;

/// A sentence, and the status of the answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Failure {
    /// There is no such page or object.
    pub(super) fn missing(what: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: format!("{what} does not exist, or you may not see it"),
        }
    }

    pub(super) fn forbidden(message: &str) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            message: message.to_owned(),
        }
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: report(&error).message,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let code = match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::ResourceExhausted | Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status: code,
            message: status.message().to_owned(),
        }
    }
}
