//! Changes of the indexes in the states of tables. The names of indexes are those of a schema.

use super::super::state::{TableEntry, TableState};
use super::super::tables::Catalog;
use super::state::{VectorIndex, with_graphs_of};
use crate::error::{Result, SqlState, sql_err};

impl Catalog {
    /// The table of a schema that has an index of this name, with its entry.
    pub(crate) fn table_of_index(
        &self,
        schema: &str,
        index: &str,
    ) -> Result<Option<(String, TableEntry)>> {
        for name in self.names(schema)? {
            let entry = self.entry(schema, &name)?;
            if indexes_of(&entry).iter().any(|known| known.name == index) {
                return Ok(Some((name, entry)));
            }
        }
        Ok(None)
    }

    /// The names of the indexes of a schema.
    pub(crate) fn index_names(&self, schema: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for name in self.names(schema)? {
            let entry = self.entry(schema, &name)?;
            names.extend(indexes_of(&entry).iter().map(|index| index.name.clone()));
        }
        Ok(names)
    }

    /// Adds an index that was built for the table of the entry `built`, whose files may have changed since. `false` if a table of the
    /// schema has an index of the name by now.
    ///
    /// # Errors
    /// If the table was dropped or replaced.
    pub(crate) fn add_index(
        &self,
        at: &(String, String),
        built: &TableEntry,
        index: &VectorIndex,
    ) -> Result<bool> {
        loop {
            let seen = self.entry(&at.0, &at.1)?;
            let of_built = match &built.state {
                Some(TableState::Managed { schema, .. }) => Some(schema),
                _ => None,
            };
            let Some(TableState::Managed {
                schema,
                files,
                indexes,
            }) = &seen.state
            else {
                return Err(lost(&at.1, "dropped"));
            };
            if seen.ownership.id != built.ownership.id || Some(schema) != of_built {
                return Err(lost(&at.1, "replaced"));
            }
            if self.table_of_index(&at.0, &index.name)?.is_some() {
                return Ok(false);
            }
            let mut indexes = indexes.clone();
            indexes.extend(with_graphs_of(std::slice::from_ref(index), files));
            let state = TableState::Managed {
                schema: schema.clone(),
                files: files.clone(),
                indexes,
            };
            if self.commit(at, &seen, state, seen.ownership.clone())? {
                return Ok(true);
            }
        }
    }

    /// Removes an index from the table of an entry. `false` if another process changed the table first.
    pub(crate) fn remove_index(
        &self,
        at: &(String, String),
        seen: &TableEntry,
        index: &str,
    ) -> Result<bool> {
        let Some(TableState::Managed {
            schema,
            files,
            indexes,
        }) = &seen.state
        else {
            return Ok(false);
        };
        let kept = indexes.iter().filter(|known| known.name != index);
        let state = TableState::Managed {
            schema: schema.clone(),
            files: files.clone(),
            indexes: kept.cloned().collect(),
        };
        self.commit(at, seen, state, seen.ownership.clone())
    }
}

fn indexes_of(entry: &TableEntry) -> &[VectorIndex] {
    match &entry.state {
        Some(TableState::Managed { indexes, .. }) => indexes,
        _ => &[],
    }
}

fn lost(table: &str, problem: &str) -> datafusion::common::DataFusionError {
    let message = format!("table \"{table}\" was {problem} while its index was built");
    sql_err(SqlState::LostRace, message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::super::super::files::ManagedFile;
    use super::super::state::IndexedFile;
    use super::*;
    use crate::access::Access;
    use crate::access::ownership::Ownership;
    use crate::error::report;
    use crate::plan::nearest::Metric;
    use crate::storage::data_dir::DataDir;
    use crate::storage::{DEFAULT_SCHEMA, IfTaken};

    fn at() -> (String, String) {
        (DEFAULT_SCHEMA.to_owned(), "t".to_owned())
    }

    fn create(catalog: &Catalog, at: &(String, String), files: &[&str]) {
        let field = Field::new("v", DataType::new_list(DataType::Float32, true), true);
        let file = |name: &&str| ManagedFile {
            directory: (*name).to_owned(),
            rows: 1,
            bytes: Some(1),
        };
        let state = TableState::Managed {
            schema: Schema::new(vec![field]),
            files: files.iter().map(file).collect(),
            indexes: vec![],
        };
        let created = catalog.create(&Access::All, at, &state, IfTaken::Replace);
        assert!(created.unwrap());
    }

    fn index(name: &str, of: &[&str]) -> VectorIndex {
        let graphs = |of: &&str| IndexedFile {
            of: (*of).to_owned(),
            directory: format!("graphs of {of}"),
            bytes: 1,
            hash: 1,
        };
        VectorIndex {
            name: name.to_owned(),
            column: "v".to_owned(),
            metric: Metric::L2,
            m: 16,
            ef_construction: 200,
            graphs: of.iter().map(graphs).collect(),
        }
    }

    #[test]
    fn an_index_belongs_to_its_table_as_it_is_when_the_index_is_done() {
        let catalog = Catalog::new(Arc::new(DataDir::temporary().unwrap()));
        create(&catalog, &at(), &["a", "b"]);
        let entry = || catalog.entry(DEFAULT_SCHEMA, "t").unwrap();
        let built = entry();
        let add = |index: &VectorIndex| catalog.add_index(&at(), &built, index);
        // The file "gone" is not one of the table any more.
        assert!(add(&index("near", &["a", "gone"])).unwrap());
        assert!(!add(&index("near", &["a"])).unwrap());
        assert_eq!(indexes_of(&entry()), [index("near", &["a"])]);
        // Another table of the schema has got an index of the name while this one was built.
        let other = (DEFAULT_SCHEMA.to_owned(), "u".to_owned());
        create(&catalog, &other, &["c"]);
        let of_other = catalog.entry(DEFAULT_SCHEMA, "u").unwrap();
        let taken = catalog.add_index(&other, &of_other, &index("near", &["c"]));
        assert!(!taken.unwrap());
        assert!(catalog.used_directories().unwrap().contains("graphs of a"));
        let found = catalog.table_of_index(DEFAULT_SCHEMA, "near").unwrap();
        assert_eq!(found.map(|(table, _)| table).as_deref(), Some("t"));
        assert_eq!(catalog.index_names(DEFAULT_SCHEMA).unwrap(), ["near"]);
        // Of two changes to one state, the second is told.
        assert!(!catalog.remove_index(&at(), &built, "near").unwrap());
        assert!(catalog.remove_index(&at(), &entry(), "near").unwrap());
        assert!(indexes_of(&entry()).is_empty());
        let none = catalog.table_of_index(DEFAULT_SCHEMA, "near").unwrap();
        assert!(none.is_none());
    }

    #[test]
    fn an_index_of_a_table_that_went_is_not_one_of_the_next() {
        let catalog = Catalog::new(Arc::new(DataDir::temporary().unwrap()));
        create(&catalog, &at(), &["a"]);
        let entry = || catalog.entry(DEFAULT_SCHEMA, "t").unwrap();
        let built = entry();
        assert!(
            catalog
                .add_index(&at(), &built, &index("one", &["a"]))
                .unwrap()
        );
        create(&catalog, &at(), &["a"]);
        assert!(indexes_of(&entry()).is_empty(), "a replaced table has none");
        let dropped = catalog.commit(&at(), &entry(), TableState::Dropped, Ownership::default());
        assert!(dropped.unwrap());
        let add = || catalog.add_index(&at(), &built, &index("two", &["a"]));
        assert_eq!(report(&add().unwrap_err()).state, SqlState::LostRace);
        create(&catalog, &at(), &["a"]);
        assert_eq!(report(&add().unwrap_err()).state, SqlState::LostRace);
    }
}
