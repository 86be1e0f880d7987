//! [`SqlState`]: the codes of errors, and what they mean.

use serde::{Deserialize, Serialize};

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
