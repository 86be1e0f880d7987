//! [`ListedIndex`]: an index as `ml.indexes` shows it.

use std::collections::HashSet;

use super::super::files::ManagedFile;
use super::super::state::TableState;
use super::super::tables::Catalog;
use super::state::VectorIndex;
use crate::access::Access;
use crate::error::Result;

/// An index with its table.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::catalog) struct ListedIndex {
    pub(in crate::catalog) schema: String,
    pub(in crate::catalog) table: String,
    pub(in crate::catalog) index: VectorIndex,
    /// The rows of the table.
    pub(in crate::catalog) rows: u64,
    /// The rows of those of its files that have graphs; the others are searched exactly.
    pub(in crate::catalog) indexed_rows: u64,
    /// The bytes of all graphs.
    pub(in crate::catalog) bytes: u64,
}

impl Catalog {
    /// The indexes of all tables that the session may read, in the order of schemas, tables and names.
    ///
    /// # Errors
    /// If the state of a table cannot be read.
    pub(in crate::catalog) fn listed_indexes(&self, access: &Access) -> Result<Vec<ListedIndex>> {
        let mut listed = Vec::new();
        for schema in self.data().schema_names()? {
            for table in self.open_names(access, &schema, self.names(&schema)?) {
                let (_, state) = self.state(&schema, &table)?;
                let Some(TableState::Managed { files, indexes, .. }) = state else {
                    continue;
                };
                listed.extend(indexes.into_iter().map(|index| ListedIndex {
                    schema: schema.clone(),
                    table: table.clone(),
                    rows: files.iter().map(|file| file.rows).sum(),
                    indexed_rows: indexed_rows(&files, &index),
                    bytes: index.graphs.iter().map(|graphs| graphs.bytes).sum(),
                    index,
                }));
            }
        }
        listed.sort_by(|left, right| left.key().cmp(&right.key()));
        Ok(listed)
    }
}

impl ListedIndex {
    fn key(&self) -> (&str, &str, &str) {
        (&self.schema, &self.table, &self.index.name)
    }
}

fn indexed_rows(files: &[ManagedFile], index: &VectorIndex) -> u64 {
    let of: HashSet<&str> = index
        .graphs
        .iter()
        .map(|graphs| graphs.of.as_str())
        .collect();
    let indexed = files
        .iter()
        .filter(|file| of.contains(file.directory.as_str()));
    indexed.map(|file| file.rows).sum()
}
