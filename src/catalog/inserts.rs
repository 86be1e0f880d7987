//! The list of files of a managed table: INSERT writes files, and publishes a list with them in the log of the table. UPDATE and DELETE
//! replace files of the list.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;

use super::files::{ManagedFile, Replacement, TableFiles, Written};
use super::indexes::with_graphs_of;
use super::merge::{Merged, merge};
use super::state::{TableEntry, TableState, changed_meanwhile, check_unchanged};
use super::tables::Catalog;
use crate::error::Result;

impl Catalog {
    /// The list of files of the managed table with this id.
    pub(super) fn files(
        self: &Arc<Self>,
        at: (String, String),
        id: Option<String>,
    ) -> Arc<dyn TableFiles> {
        Arc::new(LoggedFiles {
            catalog: Arc::clone(self),
            at,
            id,
        })
    }
}

/// The list of files in the log of a table.
#[derive(Debug)]
struct LoggedFiles {
    catalog: Arc<Catalog>,
    at: (String, String),
    /// The id of the table, which distinguishes it from others with its name.
    id: Option<String>,
}

#[async_trait]
impl TableFiles for LoggedFiles {
    fn is_temporary(&self) -> bool {
        false
    }

    async fn append(&self, schema: &SchemaRef, written: Written, overwrite: bool) -> Result<()> {
        let seen = self.catalog.entry(&self.at.0, &self.at.1)?;
        let merged = match overwrite {
            true => None,
            false => self.merged(&seen, schema, &written).await,
        };
        // An error of the commit may come after the commit, so the files must stay; unpublished files become orphans.
        written.keep();
        if let Some(merged) = &merged {
            merged.written.keep();
        }
        let insertion = Insertion {
            at: &self.at,
            id: self.id.as_deref(),
            schema,
            files: &written.files,
            merged: merged.as_ref(),
            overwrite,
        };
        let is_merged = insert(&self.catalog, &insertion, seen)?;
        // No state ever named the other files.
        match &merged {
            Some(merged) if !is_merged => merged.written.release(),
            Some(merged) if merged.has_new => written.release(),
            _ => {}
        }
        Ok(())
    }

    fn replace(&self, schema: &SchemaRef, replacement: Replacement) -> Result<()> {
        // An error of the commit may come after the commit, so the file must stay.
        if let Some(written) = &replacement.written {
            written.keep();
        }
        let (schema_name, name) = &self.at;
        loop {
            let seen = self.catalog.entry(schema_name, name)?;
            let state = self.replaced(&seen, schema, &replacement);
            let state = state.inspect_err(|_| {
                // No state ever named it.
                if let Some(written) = &replacement.written {
                    written.release();
                }
            })?;
            let ownership = seen.ownership.clone();
            if self.catalog.commit(&self.at, &seen, state, ownership)? {
                return Ok(());
            }
        }
    }
}

impl LoggedFiles {
    /// The state of the table that follows the entry `seen`.
    fn replaced(
        &self,
        seen: &TableEntry,
        schema: &SchemaRef,
        replacement: &Replacement,
    ) -> Result<TableState> {
        let is_same = seen.ownership.id == self.id;
        let (current, files, indexes) = match &seen.state {
            Some(TableState::Managed {
                schema,
                files,
                indexes,
            }) if is_same => (Some(schema), files.as_slice(), indexes.as_slice()),
            _ => (None, &[][..], &[][..]),
        };
        let name = &self.at.1;
        let current = check_unchanged(name, current, schema)?;
        let files = replacement
            .applied(files)
            .ok_or_else(|| changed_meanwhile(name))?;
        Ok(TableState::Managed {
            schema: current.clone(),
            indexes: with_graphs_of(indexes, &files),
            files,
        })
    }

    /// The small files of the table as one file, if they have become many. Rows can be inserted without.
    async fn merged(
        &self,
        seen: &TableEntry,
        schema: &SchemaRef,
        written: &Written,
    ) -> Option<Merged> {
        let Some(TableState::Managed {
            schema: current,
            files,
            ..
        }) = &seen.state
        else {
            return None;
        };
        let is_same = seen.ownership.id == self.id && current == schema.as_ref();
        if !is_same {
            return None;
        }
        let merging = merge(self.catalog.data(), schema, files, &written.files);
        match merging.await {
            Ok(merged) => merged,
            Err(error) => {
                let (schema, table) = &self.at;
                tracing::warn!(%schema, %table, %error, "small files cannot be merged");
                None
            }
        }
    }
}

/// Written files to be inserted into a table.
#[derive(Debug)]
struct Insertion<'a> {
    at: &'a (String, String),
    /// The id of the table that the rows were computed for.
    id: Option<&'a str>,
    schema: &'a SchemaRef,
    files: &'a [ManagedFile],
    /// Files of the table that were merged, maybe with the new ones.
    merged: Option<&'a Merged>,
    /// Whether the files replace the current files.
    overwrite: bool,
}

/// Appends files to a table, or replaces its files by them. Returns whether the merged files are in the new list.
fn insert(catalog: &Catalog, rows: &Insertion<'_>, mut seen: TableEntry) -> Result<bool> {
    let (schema_name, name) = rows.at;
    loop {
        // Another table with the name may have another owner.
        let is_same = seen.ownership.id.as_deref() == rows.id;
        let (current, files, indexes) = match &seen.state {
            Some(TableState::Managed {
                schema,
                files,
                indexes,
            }) if is_same => (Some(schema), files.as_slice(), indexes.as_slice()),
            _ => (None, &[][..], &[][..]),
        };
        let current = check_unchanged(name, current, rows.schema)?;
        let kept = if rows.overwrite { &[][..] } else { files };
        let merged = rows
            .merged
            .and_then(|merged| merged.applied(kept, rows.files));
        let is_merged = merged.is_some();
        let files = merged.unwrap_or_else(|| [kept, rows.files].concat());
        let state = TableState::Managed {
            schema: current.clone(),
            indexes: with_graphs_of(indexes, &files),
            files,
        };
        if catalog.commit(rows.at, &seen, state, seen.ownership.clone())? {
            return Ok(is_merged);
        }
        seen = catalog.entry(schema_name, name)?;
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::access::Access;
    use crate::access::ownership::Ownership;
    use crate::error::{SqlState, report};
    use crate::storage::data_dir::DataDir;
    use crate::storage::{DEFAULT_SCHEMA, IfTaken};

    fn at() -> (String, String) {
        (DEFAULT_SCHEMA.to_owned(), "t".to_owned())
    }

    fn columns(name: &str) -> Schema {
        Schema::new(vec![Field::new(name, DataType::Int64, true)])
    }

    /// Creates a table with the column `a`.
    fn create(catalog: &Catalog) {
        let state = TableState::Managed {
            schema: columns("a"),
            files: vec![],
            indexes: vec![],
        };
        let created = catalog.create(&Access::All, &at(), &state, IfTaken::Fail);
        assert!(created.unwrap());
    }

    fn entry(catalog: &Catalog) -> TableEntry {
        catalog.entry(DEFAULT_SCHEMA, "t").unwrap()
    }

    fn file(name: &str) -> ManagedFile {
        serde_json::from_value(serde_json::json!({"directory": name, "rows": 1, "bytes": 1}))
            .unwrap()
    }

    fn insert_file(
        catalog: &Catalog,
        id: Option<&str>,
        column: &str,
        overwrite: bool,
    ) -> Result<(), SqlState> {
        let insertion = Insertion {
            at: &at(),
            id,
            schema: &Arc::new(columns(column)),
            files: &[file("new")],
            merged: None,
            overwrite,
        };
        let seen = entry(catalog);
        let inserted = insert(catalog, &insertion, seen);
        inserted.map(drop).map_err(|error| report(&error).state)
    }

    #[test]
    fn of_two_changes_to_the_same_files_the_second_fails() {
        let catalog = Arc::new(Catalog::new(Arc::new(DataDir::temporary().unwrap())));
        create(&catalog);
        let of = entry(&catalog).ownership.id;
        insert_file(&catalog, of.as_deref(), "a", false).unwrap();
        let files = || match entry(&catalog).state {
            Some(TableState::Managed { files, .. }) => files,
            state => panic!("{state:?}"),
        };
        let list = catalog.files(at(), of.clone());
        let removal = |read: Vec<ManagedFile>| {
            let replacement = Replacement {
                read,
                replaced: [0].into(),
                written: None,
            };
            let replaced = list.replace(&Arc::new(columns("a")), replacement);
            replaced.map_err(|error| report(&error).state)
        };
        let read = files();
        // A file that comes while the statement runs stays.
        insert_file(&catalog, of.as_deref(), "a", false).unwrap();
        removal(read.clone()).unwrap();
        assert_eq!(files(), [file("new")]);
        insert_file(&catalog, of.as_deref(), "a", true).unwrap();
        let other = vec![file("other")];
        assert_eq!(removal(other), Err(SqlState::LostRace));
        let seen = entry(&catalog);
        let dropped = catalog.commit(&at(), &seen, TableState::Dropped, Ownership::default());
        assert!(dropped.unwrap());
        assert_eq!(removal(read), Err(SqlState::LostRace));
    }

    #[test]
    fn rows_go_into_the_table_that_they_were_computed_for() {
        let catalog = Catalog::new(Arc::new(DataDir::temporary().unwrap()));
        create(&catalog);
        let of = entry(&catalog).ownership.id;
        let files = || match entry(&catalog).state {
            Some(TableState::Managed { files, .. }) => files.len(),
            state => panic!("{state:?}"),
        };
        insert_file(&catalog, of.as_deref(), "a", false).unwrap();
        insert_file(&catalog, of.as_deref(), "a", false).unwrap();
        assert_eq!(files(), 2);
        insert_file(&catalog, of.as_deref(), "a", true).unwrap();
        assert_eq!(files(), 1);
        let lost = Err(SqlState::LostRace);
        assert_eq!(insert_file(&catalog, of.as_deref(), "b", false), lost);
        // A table of the same name and columns that came after is another one.
        let seen = entry(&catalog);
        let dropped = catalog.commit(&at(), &seen, TableState::Dropped, Ownership::default());
        assert!(dropped.unwrap());
        assert_eq!(insert_file(&catalog, of.as_deref(), "a", false), lost);
        create(&catalog);
        assert_eq!(insert_file(&catalog, of.as_deref(), "a", false), lost);
    }
}
