//! Checks of names that become file names: schemas, tables, models and aliases.

use crate::error::{SqlError, SqlState};

/// The schema of an unqualified name.
pub(crate) const DEFAULT_SCHEMA: &str = "public";
/// The schema of the system tables about trainings and the cluster.
pub(crate) const ML_SCHEMA: &str = "ml";
/// The schema of the data sets inside the program. A data directory may have a schema of this name from before; it is used instead.
pub(crate) const EXAMPLES_SCHEMA: &str = "examples";
/// The schemas that every data directory has and that statements do not change.
pub(crate) const BUILT_IN_SCHEMAS: [&str; 3] = ["information_schema", ML_SCHEMA, EXAMPLES_SCHEMA];

const NAME_LENGTH_MAX: usize = 63;
const RESERVED: &[&str] = &["latest", "last", "default", "con", "nul", "prn", "aux"];

/// Checks that a name has only letters, digits and underscores, since names become file names. Names are folded to lower
/// case, so that no two names differ only by case.
pub(crate) fn check_identifier(kind: &str, name: &str) -> Result<(), SqlError> {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_reserved = RESERVED.contains(&name.to_lowercase().as_str());
    let is_valid =
        name.starts_with(is_start) && name.chars().all(is_part) && name.len() <= NAME_LENGTH_MAX;
    if is_valid && !is_reserved {
        return Ok(());
    }
    let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
    let dots = if name.chars().count() > 40 { "…" } else { "" };
    let reason = if is_reserved {
        "it is reserved"
    } else {
        "use letters, digits and underscores, at most 63"
    };
    let article = if kind.starts_with('a') { "an" } else { "a" };
    Err(SqlError {
        state: SqlState::InvalidName,
        message: format!("\"{shown}{dots}\" cannot be the name of {article} {kind}; {reason}"),
        position: None,
    })
}
