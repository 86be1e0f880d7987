//! Errors as users see them: one sentence, a SQLSTATE, and the position in the statement.
//!
//! Vatic's own error is a [`SqlError`] inside `DataFusionError::External`; DataFusion's own errors get the code of
//! their kind. [`report`] converts any `DataFusionError` to a [`SqlError`] for a user.

use std::fmt;
use std::io::ErrorKind;

use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;
use serde::{Deserialize, Serialize};

/// The result of all fallible functions in this crate.
pub type Result<T, E = DataFusionError> = std::result::Result<T, E>;

/// The error codes, following the SQL standard and PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SqlState {
    /// 42601
    Syntax,
    /// 42602
    InvalidName,
    /// 42701
    DuplicateName,
    /// 42703
    MissingColumn,
    /// 42704
    NoSuchModel,
    /// 42710
    ModelExists,
    /// 42804
    TypeMismatch,
    /// 07001
    WrongParameters,
    /// 28000
    NotAuthenticated,
    /// 42501
    NotAllowed,
    /// 42P01
    NoSuchTable,
    /// 42P07
    TableExists,
    /// 22003
    OutOfRange,
    /// 22004
    Null,
    /// 22012
    DivisionByZero,
    /// 22018
    InvalidCast,
    /// 22023
    InvalidParameter,
    /// 22000
    Data,
    /// 42000
    Plan,
    /// 53000
    NoResources,
    /// 53200
    OutOfMemory,
    /// 53300
    TooMany,
    /// 54001
    TooComplex,
    /// 57014
    Cancelled,
    /// 57014
    TimedOut,
    /// 57P01
    ShuttingDown,
    /// 40001
    LostRace,
    /// 58030
    Io,
    /// 2BP01
    StillNeeded,
    /// 0A000
    Unsupported,
    /// XX000: a rank of a training ended because another rank failed, whose error is the one to report.
    Peer,
    /// XX000
    Internal,
}

/// Every code with its meaning, for the documentation.
pub const SQL_STATES: &[(SqlState, &str, &str)] = &[
    (
        SqlState::WrongParameters,
        "07001",
        "too few or too many values for the parameters",
    ),
    (SqlState::Unsupported, "0A000", "not supported"),
    (SqlState::Data, "22000", "bad data"),
    (SqlState::OutOfRange, "22003", "a number beyond its type"),
    (SqlState::Null, "22004", "NULL where none is allowed"),
    (SqlState::DivisionByZero, "22012", "division by zero"),
    (
        SqlState::InvalidCast,
        "22018",
        "a value that does not fit its type",
    ),
    (
        SqlState::InvalidParameter,
        "22023",
        "option out of range, or rows that cannot be trained on",
    ),
    (
        SqlState::NotAuthenticated,
        "28000",
        "wrong password or token, or none",
    ),
    (
        SqlState::StillNeeded,
        "2BP01",
        "something else still needs the object",
    ),
    (
        SqlState::LostRace,
        "40001",
        "another process changed the object at the same time; try again",
    ),
    (SqlState::Plan, "42000", "a statement that makes no sense"),
    (SqlState::NotAllowed, "42501", "not allowed"),
    (SqlState::Syntax, "42601", "syntax"),
    (SqlState::InvalidName, "42602", "invalid name"),
    (SqlState::DuplicateName, "42701", "duplicate name"),
    (
        SqlState::MissingColumn,
        "42703",
        "missing column or feature",
    ),
    (
        SqlState::NoSuchModel,
        "42704",
        "no such model, version, index, table function or option",
    ),
    (SqlState::ModelExists, "42710", "the model exists"),
    (SqlState::TypeMismatch, "42804", "wrong type"),
    (SqlState::NoSuchTable, "42P01", "no such table"),
    (SqlState::TableExists, "42P07", "the table or index exists"),
    (
        SqlState::NoResources,
        "53000",
        "the cluster has no executors or lost them, or a GPU is missing or failed",
    ),
    (SqlState::OutOfMemory, "53200", "out of memory"),
    (
        SqlState::TooMany,
        "53300",
        "too many sessions, statements or plans at once, or fewer slots than a training asks for; try again",
    ),
    (
        SqlState::TooComplex,
        "54001",
        "a statement that is too long or too complex",
    ),
    (
        SqlState::Cancelled,
        "57014",
        "cancelled, or out of time; the message says if the outcome is not known",
    ),
    (
        SqlState::TimedOut,
        "57014",
        "cancelled, or out of time; the message says if the outcome is not known",
    ),
    (
        SqlState::ShuttingDown,
        "57P01",
        "the server is shutting down",
    ),
    (
        SqlState::Io,
        "58030",
        "a file that is missing, damaged or not what its manifest says, or it is not known whether a change was published",
    ),
    (SqlState::Peer, "XX000", "a bug"),
    (SqlState::Internal, "XX000", "a bug"),
];

impl SqlState {
    /// The five characters of the code.
    pub fn code(self) -> &'static str {
        SQL_STATES
            .iter()
            .find(|(state, ..)| *state == self)
            .map_or("XX000", |(_, code, _)| code)
    }
}

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

/// Delimiters of an encoded error. The encoding uses only letters and digits, as others quote and wrap the text.
const TEXT_BEGIN: &str = "vatic-error-";
const TEXT_END: &str = "-end";

/// Encodes an error as text, for transports that carry only text.
pub(crate) fn error_to_text(error: &SqlError) -> String {
    let json = serde_json::to_string(error).unwrap_or_default();
    let hex: String = json.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{TEXT_BEGIN}{hex}{TEXT_END}")
}

/// Decodes the first encoded error in a text.
pub(crate) fn error_from_text(text: &str) -> Option<SqlError> {
    let (_, text) = text.split_once(TEXT_BEGIN)?;
    let (hex, _) = text.split_once(TEXT_END)?;
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let json: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    serde_json::from_slice(&json?).ok()
}

/// Converts an error of `vatic_ml`.
pub(crate) fn ml_err(error: vatic_ml::Error) -> DataFusionError {
    use vatic_ml::Error;
    let state = match &error {
        Error::Null(_) => SqlState::Null,
        Error::Invalid(_) => SqlState::InvalidParameter,
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

/// Adds the nearest name of `known` to an error message about a name.
pub(crate) fn with_cause<'a>(
    what: String,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    match nearest(name, known) {
        Some(nearest) => format!("{what}; the nearest name is \"{nearest}\""),
        None => what,
    }
}

/// The name of `known` that is nearest to `name`, if at most a third of the letters differ: others are no typos.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let far_from = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let letters = candidate.chars().count().max(lower.chars().count());
        let distance = strsim::damerau_levenshtein(&lower, &candidate);
        (3 * distance <= letters).then_some(distance)
    };
    let near = known
        .into_iter()
        .filter_map(|candidate| far_from(candidate).map(|distance| (distance, candidate)));
    let (_, nearest) = near.min_by_key(|(distance, _)| *distance)?;
    Some(nearest)
}

#[cfg(test)]
mod tests {
    use datafusion::parquet::errors::ParquetError;

    use super::*;

    #[test]
    fn an_error_survives_being_quoted() {
        let error = SqlError {
            state: SqlState::Null,
            message: "row 3: \"x\" is NULL\nin part-0 — ä".into(),
            position: Some(Position { line: 1, column: 2 }),
        };
        let quoted = format!("{:?}", format!("task failed: {:?}", error_to_text(&error)));
        let found = error_from_text(&quoted).unwrap();
        assert_eq!(found.message, error.message);
        assert_eq!((found.state, found.position), (error.state, error.position));
        assert!(error_from_text("vatic-error-7b-end").is_none());
    }

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
    fn a_name_of_which_over_a_third_differs_is_not_suggested() {
        for (name, known, expected) in [
            ("TRIAN", "train", Some("train")),
            ("servee", "serve", Some("serve")),
            ("dya", "day", Some("day")),
            ("imputer", "rmse", None),
            ("imputer", "upper", None),
            ("prob", "pow", None),
            ("yy", "y", None),
            ("v", "w", None),
        ] {
            assert_eq!(nearest(name, [known]), expected, "{name}");
        }
        assert_eq!(nearest("lagg", ["flag", "lag"]), Some("lag"));
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
