//! [`TableState`]: a table or view at one time, and what may become of it.

use std::borrow::Borrow;
use std::collections::HashSet;

use datafusion::arrow::datatypes::Schema;
use serde::{Deserialize, Serialize};

use super::files::ManagedFile;
use crate::access::ownership::Ownership;
use crate::error::{Result, SqlState, sql_err};

/// A table or view at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TableState {
    /// Parquet files in the data directory.
    Managed {
        schema: Schema,
        files: Vec<ManagedFile>,
    },
    /// Files elsewhere: the statement, and where they are whatever the current directory is.
    External {
        statement: String,
        locations: Vec<String>,
    },
    /// A query under a name.
    View { statement: String },
    /// There was one.
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

/// A name at one time: what is there, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct TableEntry {
    /// Of the state in its log.
    pub(crate) number: Option<u64>,
    pub(crate) state: Option<TableState>,
    pub(crate) ownership: Ownership,
}

/// What a log holds.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Stored {
    Owned {
        state: TableState,
        #[serde(flatten)]
        ownership: Ownership,
    },
    /// As states were before they said whose they are.
    Bare(TableState),
}

/// Refuses columns that nobody could tell apart.
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

/// What CREATE does if the name is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Creation {
    pub(crate) or_replace: bool,
    pub(crate) if_not_exists: bool,
}

impl Creation {
    /// Whether to go on; an error if the name is taken by something that must stay.
    pub(crate) fn admits(
        self,
        name: &str,
        current: Option<&TableState>,
        new: &TableState,
    ) -> Result<bool> {
        match current {
            None => Ok(true),
            Some(_) if self.or_replace && self.if_not_exists => Err(sql_err(
                SqlState::Syntax,
                "OR REPLACE and IF NOT EXISTS exclude each other; keep one of them",
            )),
            Some(_) if self.if_not_exists => Ok(false),
            Some(current) if self.or_replace && current.kind() == new.kind() => Ok(true),
            Some(current) => {
                let message = format!("{} \"{name}\" exists", current.kind());
                Err(sql_err(SqlState::TableExists, message))
            }
        }
    }
}

/// The schema of a table whose rows were computed for this one.
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
    let message = format!("table \"{name}\" was {problem} while rows were inserted into it");
    Err(sql_err(SqlState::LostRace, message))
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
        }
    }

    #[test]
    fn a_name_that_is_taken_stays_unless_it_is_to_be_replaced_by_its_like() {
        let view = TableState::View {
            statement: String::new(),
        };
        let (old, new) = (table(&["a"]), table(&["b"]));
        let admits = |or_replace, if_not_exists, current: Option<&TableState>| {
            let how = Creation {
                or_replace,
                if_not_exists,
            };
            how.admits("t", current, &new)
        };
        assert!(admits(false, false, None).unwrap());
        assert!(admits(true, false, Some(&old)).unwrap());
        assert!(!admits(false, true, Some(&old)).unwrap());
        let code = |result: Result<bool>| crate::error::report(&result.unwrap_err()).state;
        assert_eq!(
            code(admits(false, false, Some(&old))),
            SqlState::TableExists
        );
        assert_eq!(
            code(admits(true, false, Some(&view))),
            SqlState::TableExists
        );
        assert_eq!(code(admits(true, true, Some(&old))), SqlState::Syntax);
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
