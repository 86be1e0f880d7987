//! Conversion of errors to gRPC statuses and back.

use datafusion::common::DataFusionError;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::error::{Position, SqlError, SqlState, error_from_text, error_to_text, report, sql_err};

/// A message travels in a header, whose size clients limit.
const MESSAGE_BYTES_MAX: usize = 4_000;
/// The maximum size of the message in the detail header for the Vatic shell.
const DETAIL_BYTES_MAX: usize = 1_500;
/// The header that carries an error to the Vatic shell.
const DETAIL: &str = "vatic-error";

/// The status of an error.
pub(super) fn status(error: &DataFusionError) -> Status {
    of(report(error))
}

/// The status of an error of this kind.
pub(super) fn failed(state: SqlState, message: impl Into<String>) -> Status {
    status(&sql_err(state, message))
}

fn of(mut error: SqlError) -> Status {
    let place = match error.position {
        Some(Position { line, column }) => format!(" (line {line}, column {column})"),
        None => String::new(),
    };
    let message = cut(&error.message, MESSAGE_BYTES_MAX);
    let message = format!("{message}{place} [{}]", error.state.code());
    error.message = cut(&error.message, DETAIL_BYTES_MAX).to_owned();
    let mut details = MetadataMap::new();
    // The encoded error consists of letters and digits, which any header may hold.
    if let Ok(detail) = MetadataValue::try_from(error_to_text(&error)) {
        details.insert(DETAIL, detail);
    }
    Status::with_metadata(code(error.state), message, details)
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

fn code(state: SqlState) -> Code {
    match state {
        SqlState::Syntax
        | SqlState::InvalidName
        | SqlState::DuplicateName
        | SqlState::MissingColumn
        | SqlState::TypeMismatch
        | SqlState::OutOfRange
        | SqlState::Null
        | SqlState::DivisionByZero
        | SqlState::InvalidCast
        | SqlState::InvalidParameter
        | SqlState::WrongParameters
        | SqlState::Data
        | SqlState::Plan
        | SqlState::TooComplex => Code::InvalidArgument,
        SqlState::NoSuchModel | SqlState::NoSuchTable => Code::NotFound,
        SqlState::ModelExists | SqlState::TableExists => Code::AlreadyExists,
        SqlState::NoResources | SqlState::ShuttingDown => Code::Unavailable,
        SqlState::OutOfMemory | SqlState::TooMany => Code::ResourceExhausted,
        SqlState::Cancelled => Code::Cancelled,
        SqlState::TimedOut => Code::DeadlineExceeded,
        SqlState::LostRace => Code::Aborted,
        SqlState::Io | SqlState::StillNeeded => Code::FailedPrecondition,
        SqlState::Unsupported => Code::Unimplemented,
        SqlState::NotAuthenticated => Code::Unauthenticated,
        SqlState::NotAllowed => Code::PermissionDenied,
        SqlState::Peer | SqlState::Internal => Code::Internal,
    }
}

/// The error of a Vatic server, or of the connection.
pub(crate) fn from_status(status: &Status) -> DataFusionError {
    let detail = status.metadata().get(DETAIL);
    let detail = detail.and_then(|detail| error_from_text(detail.to_str().ok()?));
    if let Some(error) = detail {
        return error.into();
    }
    let state = match status.code() {
        Code::Cancelled => SqlState::Cancelled,
        Code::DeadlineExceeded => SqlState::TimedOut,
        Code::Unauthenticated => SqlState::NotAuthenticated,
        Code::PermissionDenied => SqlState::NotAllowed,
        Code::ResourceExhausted => SqlState::TooMany,
        Code::Unavailable => SqlState::NoResources,
        Code::Unimplemented => SqlState::Unsupported,
        _ => SqlState::Internal,
    };
    sql_err(state, format!("the server: {}", status.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_way_through_grpc() {
        let error = SqlError {
            state: SqlState::NoSuchTable,
            message: "table \"tä\" does not exist".into(),
            position: Some(Position { line: 2, column: 9 }),
        };
        let status = status(&error.clone().into());
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(
            status.message(),
            "table \"tä\" does not exist (line 2, column 9) [42P01]"
        );
        let back = report(&from_status(&status));
        assert_eq!(
            (back.message, back.position),
            (error.message, error.position)
        );
    }

    #[test]
    fn a_long_message_is_cut() {
        let status = failed(SqlState::Data, "ä".repeat(100_000));
        assert!(status.message().len() < 5_000);
        let details: usize = status
            .metadata()
            .as_ref()
            .values()
            .map(|value| value.len())
            .sum();
        assert!(details < 5_000);
    }
}
