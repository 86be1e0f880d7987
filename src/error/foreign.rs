//! [`report`]: errors of DataFusion, Arrow and files, as errors of Vatic.
//!
//! Where an error has no type of its own, its text is recognised (decision 0034).

use std::io::ErrorKind;

use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;

use super::sql_error::{Position, SqlError};
use super::state::SqlState;

/// Converts any error for a user.
pub fn report(error: &DataFusionError) -> SqlError {
    let position = position(error);
    let mut found = match error.find_root() {
        DataFusionError::External(inner) => from_external(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => arrow_report(inner),
        root => from_datafusion(root),
    };
    found.position = found.position.or(position);
    found.message = plain(&found.message);
    found
}

fn from_external(error: &(dyn std::error::Error + Send + Sync + 'static)) -> SqlError {
    match error.downcast_ref::<SqlError>() {
        Some(ours) => ours.clone(),
        None => SqlError {
            state: match is_of_files(error) {
                true => SqlState::Io,
                false => SqlState::Data,
            },
            message: error.to_string(),
            position: None,
        },
    }
}

/// Converts an error of Arrow.
pub(crate) fn arrow_report(error: &ArrowError) -> SqlError {
    let (state, message) = match error {
        ArrowError::DivideByZero => (SqlState::DivisionByZero, "division by zero".to_owned()),
        ArrowError::CastError(text) | ArrowError::ParseError(text) => {
            (SqlState::InvalidCast, with_wider_type(text))
        }
        ArrowError::ArithmeticOverflow(text) => (SqlState::OutOfRange, overflow(text)),
        ArrowError::ComputeError(text) => (SqlState::Data, text.clone()),
        ArrowError::ExternalError(inner) => return from_external(inner.as_ref()),
        ArrowError::IoError(_, inner) if !is_of_content(inner.kind()) => {
            (SqlState::Io, error.to_string())
        }
        other => (SqlState::Data, other.to_string()),
    };
    SqlError {
        state,
        message,
        position: None,
    }
}

/// Whether an error of input is about what a file holds, which Arrow reports like an error of the disk.
fn is_of_content(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof
    )
}

/// Whether there is no room for a file: on the disk, or for this user.
pub(crate) fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Whether the text of an error says the same. Ballista's writers of sorted rows report errors of files as text only, in the form for
/// developers.
fn says_full(text: &str) -> bool {
    let mut full = ["kind: StorageFull", "kind: QuotaExceeded"].into_iter();
    full.any(|kind| text.contains(kind))
}

/// DataFusion's message for a timestamp that its unit cannot hold.
const BEYOND_UNIT: &str = "exceeds the representable i64 range";

/// Adds the hint to use a type with a wider range of dates.
fn with_wider_type(text: &str) -> String {
    match text.contains("represented as nanoseconds") || text.contains(BEYOND_UNIT) {
        true => format!("{text}; TIMESTAMP(6) has microseconds and room for it"),
        false => text.to_owned(),
    }
}

fn overflow(text: &str) -> String {
    let operation = text.strip_prefix("Overflow happened on: ").unwrap_or(text);
    format!("{operation} is beyond the type of its numbers; CAST them to a wider type")
}

fn from_datafusion(error: &DataFusionError) -> SqlError {
    let state = match error {
        DataFusionError::SQL(..) => SqlState::Syntax,
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { .. } => SqlState::MissingColumn,
            _ => SqlState::DuplicateName,
        },
        DataFusionError::NotImplemented(_) => SqlState::Unsupported,
        DataFusionError::ResourcesExhausted(_) => SqlState::OutOfMemory,
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) => SqlState::Io,
        // The file was removed while it was read.
        DataFusionError::ParquetError(inner) if is_of_files(inner.as_ref()) => SqlState::Io,
        DataFusionError::Plan(text) if text.contains("not found") && text.contains("table") => {
            SqlState::NoSuchTable
        }
        DataFusionError::Plan(_) => SqlState::Plan,
        DataFusionError::Configuration(_) => SqlState::InvalidParameter,
        DataFusionError::Internal(_) => SqlState::Internal,
        DataFusionError::Execution(text) if text.contains(BEYOND_UNIT) => SqlState::OutOfRange,
        DataFusionError::Execution(text) if says_full(text) => SqlState::Io,
        _ => SqlState::Data,
    };
    let message = match error {
        DataFusionError::SQL(parser, _) => match parser.as_ref() {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => {
                without_position(text)
            }
            ParserError::RecursionLimitExceeded => "the statement is nested too deeply".into(),
        },
        DataFusionError::Execution(text) if says_full(text) => {
            "the disk of an executor is full; free space where executors have their --work-dir"
                .into()
        }
        other => with_wider_type(&other.message()),
    };
    SqlError {
        state,
        message,
        position: None,
    }
}

/// Drops text for developers: backtraces, and the advice to report a bug to DataFusion.
fn plain(message: &str) -> String {
    let end = message
        .find("\n\nbacktrace:")
        .or_else(|| message.find(".\nThis issue was likely caused"));
    let text = &message[..end.unwrap_or(message.len())];
    let text = without_wrapping(text);
    text.lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
        .trim_end()
        .to_owned()
}

/// A function's message about its arguments, without DataFusion's surrounding message about the call.
fn without_wrapping(text: &str) -> &str {
    const BEFORE: &str = "user-defined coercion failed with: Error during planning: ";
    const AFTER: &str = " No function matches the given name and argument types";
    let Some((_, text)) = text.split_once(BEFORE) else {
        return text;
    };
    let text = text.split_once(AFTER).map_or(text, |(text, _)| text);
    text.trim_end_matches('.')
}

fn position(error: &DataFusionError) -> Option<Position> {
    if let Some(span) = error.diagnostic().and_then(|diagnostic| diagnostic.span) {
        return Some(Position {
            line: span.start.line,
            column: span.start.column,
        });
    }
    let DataFusionError::SQL(parser, _) = error.find_root() else {
        return None;
    };
    let (ParserError::ParserError(text) | ParserError::TokenizerError(text)) = parser.as_ref()
    else {
        return None;
    };
    let at = text.rfind(" at Line: ")?;
    let mut numbers = text[at..]
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok());
    Some(Position {
        line: numbers.next()?,
        column: numbers.next()?,
    })
}

fn without_position(text: &str) -> String {
    let text = text.rfind(" at Line: ").map_or(text, |at| &text[..at]);
    begun_lower(text)
}

/// The text with a small first letter, unless its first word is in capitals, as keywords are.
fn begun_lower(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), second) if !second.is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}

/// Whether an error, or one of its causes, comes from reading or writing files: an object store reports it, or a disk that is full.
fn is_of_files(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let of_disk = error.downcast_ref::<std::io::Error>();
        let is_of_full_disk = of_disk.is_some_and(|error| is_full(error.kind()));
        if is_of_full_disk || error.is::<object_store::Error>() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use datafusion::parquet::errors::ParquetError;

    use super::*;

    #[test]
    fn a_disk_that_is_full_is_not_bad_data() {
        let state = |kind: ErrorKind| {
            let error = ArrowError::IoError("x".into(), kind.into());
            report(&DataFusionError::ArrowError(Box::new(error), None)).state
        };
        assert_eq!(state(ErrorKind::StorageFull), SqlState::Io);
        assert_eq!(state(ErrorKind::InvalidData), SqlState::Data);
    }

    #[test]
    fn a_disk_that_is_full_is_not_bad_data_whatever_wraps_its_error() {
        let state = |kind: ErrorKind| {
            let error = || std::io::Error::from(kind);
            let wrapped = [
                DataFusionError::External(Box::new(error())),
                ArrowError::ExternalError(Box::new(error())).into(),
                ParquetError::from(error()).into(),
                DataFusionError::from(ArrowError::from(error())).context("a sort"),
            ];
            wrapped.map(|error| report(&error).state)
        };
        assert_eq!(state(ErrorKind::StorageFull), [SqlState::Io; 4]);
        assert_eq!(state(ErrorKind::QuotaExceeded), [SqlState::Io; 4]);
        assert_eq!(state(ErrorKind::InvalidData), [SqlState::Data; 4]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_is_full_is_known_in_the_text_of_a_writer() {
        // ENOSPC and EDQUOT, as BallistaError::IoError has them.
        for code in [28, 122] {
            let full = std::io::Error::from_raw_os_error(code);
            let error = DataFusionError::Execution(format!("IoError({full:?})"));
            let found = report(&error);
            assert_eq!(found.state, SqlState::Io, "{full:?}");
            assert!(found.message.ends_with("--work-dir"), "{found}");
        }
    }

    #[test]
    fn a_message_begins_small_but_keeps_its_keywords() {
        assert_eq!(
            without_position("Expected: x at Line: 1, Column: 2"),
            "expected: x"
        );
        assert_eq!(
            begun_lower("WITH HEADER ROW clause"),
            "WITH HEADER ROW clause"
        );
        assert_eq!(begun_lower("A b"), "a b");
        assert_eq!(begun_lower(""), "");
    }
}
