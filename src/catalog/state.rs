//! [`TableState`]: the state of a table or view, and checks of its changes.

use std::borrow::Borrow;
use std::collections::HashSet;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::DataFusionError;
use serde::{Deserialize, Serialize};

use super::files::ManagedFile;
use super::indexes::VectorIndex;
use crate::access::ownership::Ownership;
use crate::error::{Result, SqlState, sql_err};
use crate::storage::IfTaken;
use crate::storage::state_log::LogPosition;

/// The state of a table or view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TableState {
    /// Parquet files in the data directory.
    Managed {
        schema: Schema,
        files: Vec<ManagedFile>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        indexes: Vec<VectorIndex>,
    },
    /// Files elsewhere: the declaring statement, and the absolute locations.
    External {
        statement: String,
        locations: Vec<String>,
    },
    /// A named query.
    View { statement: String },
    /// The object was dropped.
    Dropped,
}

impl TableState {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Managed { .. } | Self::External { .. } => "table",
            Self::View { .. } => "view",
            Self::Dropped => "nothing",
        }
    }
}

/// The latest state of a name, and its ownership.
#[derive(Debug, Clone)]
pub(crate) struct TableEntry {
    /// The last state in the log, also of a dropped object.
    pub(crate) seen: Option<LogPosition>,
    pub(crate) state: Option<TableState>,
    pub(crate) ownership: Ownership,
}

/// The content of a log's file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Stored {
    Owned {
        state: TableState,
        #[serde(flatten)]
        ownership: Ownership,
    },
    /// The content that versions without ownership wrote.
    Bare(TableState),
}

/// Refuses duplicate column names.
pub(crate) fn check_column_names(schema: &Schema) -> Result<()> {
    let mut names = HashSet::new();
    match schema
        .fields()
        .iter()
        .find(|field| !names.insert(field.name()))
    {
        None => Ok(()),
        Some(twice) => {
            let name = twice.name();
            let message = format!("column \"{name}\" comes twice; give one another name with AS");
            Err(sql_err(SqlState::DuplicateName, message))
        }
    }
}

/// Whether CREATE creates the object; an error if the name is taken and the object must not be replaced.
pub(crate) fn should_create(
    if_taken: IfTaken,
    name: &str,
    current: Option<&TableState>,
    new: &TableState,
) -> Result<bool> {
    match (current, if_taken) {
        (None, _) => Ok(true),
        (Some(_), IfTaken::Keep) => Ok(false),
        (Some(current), IfTaken::Replace) if current.kind() == new.kind() => Ok(true),
        (Some(current), IfTaken::Fail | IfTaken::Replace) => {
            let message = format!("{} \"{name}\" exists", current.kind());
            Err(sql_err(SqlState::TableExists, message))
        }
    }
}

/// The current schema of a table, if it equals the schema that rows were computed for.
pub(crate) fn check_unchanged<S: Borrow<Schema>>(
    name: &str,
    current: Option<S>,
    schema: &Schema,
) -> Result<S> {
    let problem = match current {
        Some(current) if current.borrow() == schema => return Ok(current),
        Some(_) => "replaced",
        None => "dropped",
    };
    let message = format!("table \"{name}\" was {problem} while the statement changed it");
    Err(sql_err(SqlState::LostRace, message))
}

/// The error for a statement whose rows another statement changed in the meantime.
pub(crate) fn changed_meanwhile(name: &str) -> DataFusionError {
    let message = format!(
        "another statement changed rows of table \"{name}\" while this one ran; run it again"
    );
    sql_err(SqlState::LostRace, message)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field};

    use super::*;

    fn table(columns: &[&str]) -> TableState {
        let fields = columns
            .iter()
            .map(|name| Field::new(*name, DataType::Int64, true));
        TableState::Managed {
            schema: Schema::new(fields.collect::<Vec<_>>()),
            files: vec![],
            indexes: vec![],
        }
    }

    #[test]
    fn a_name_that_is_taken_stays_unless_it_is_to_be_replaced_by_its_like() {
        let view = TableState::View {
            statement: String::new(),
        };
        let (old, new) = (table(&["a"]), table(&["b"]));
        let create = |if_taken, current: Option<&TableState>| {
            let code = |error| crate::error::report(&error).state;
            should_create(if_taken, "t", current, &new).map_err(code)
        };
        let taken = Err(SqlState::TableExists);
        assert_eq!(create(IfTaken::Fail, None), Ok(true));
        assert_eq!(create(IfTaken::Fail, Some(&old)), taken);
        assert_eq!(create(IfTaken::Keep, Some(&old)), Ok(false));
        assert_eq!(create(IfTaken::Replace, Some(&old)), Ok(true));
        assert_eq!(create(IfTaken::Replace, Some(&view)), taken);
    }

    #[test]
    fn a_table_that_became_another_takes_no_rows() {
        let schema = |state| match state {
            TableState::Managed { schema, .. } => schema,
            _ => unreachable!(),
        };
        let (old, new) = (schema(table(&["a"])), schema(table(&["b"])));
        assert!(check_unchanged("t", Some(&old), &old).is_ok());
        for (current, word) in [(Some(&new), "replaced"), (None, "dropped")] {
            let error = check_unchanged("t", current, &old).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn states_from_before_ownership_are_read() {
        let bare = serde_json::to_string(&table(&["a"])).unwrap();
        let stored: Stored = serde_json::from_str(&bare).unwrap();
        assert!(matches!(stored, Stored::Bare(state) if state == table(&["a"])));
        assert!(
            check_column_names(&Schema::new(vec![
                Field::new("a", DataType::Int64, true),
                Field::new("a", DataType::Utf8, true),
            ]))
            .is_err()
        );
    }
}
