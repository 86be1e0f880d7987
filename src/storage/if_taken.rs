//! [`IfTaken`]: what a statement that creates an object does if the name is taken.

use crate::error::{Result, SqlState, sql_err};

/// What a statement that creates an object does if the name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfTaken {
    /// Fails.
    Fail,
    /// Keeps the existing object: IF NOT EXISTS.
    Keep,
    /// Replaces the existing object: OR REPLACE.
    Replace,
}

impl IfTaken {
    /// Reads the clauses of a statement, which exclude each other.
    pub(crate) fn from_clauses(or_replace: bool, if_not_exists: bool) -> Result<Self> {
        match (or_replace, if_not_exists) {
            (false, false) => Ok(Self::Fail),
            (false, true) => Ok(Self::Keep),
            (true, false) => Ok(Self::Replace),
            (true, true) => Err(sql_err(SqlState::Syntax, EXCLUSIVE_CLAUSES)),
        }
    }
}

/// The message for a statement with both clauses.
pub(crate) const EXCLUSIVE_CLAUSES: &str =
    "OR REPLACE and IF NOT EXISTS exclude each other; keep one of them";
