//! [`TableStore`]: where new tables and uploaded rows go: into the data directory, or into a session.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;

use super::files::{TableFiles, Written};
use super::state::TableState;
use super::tables::Catalog;
use crate::access::Access;
use crate::error::Result;
use crate::storage::IfTaken;

/// Where new tables and uploaded rows go.
pub(crate) trait TableStore: Send + Sync {
    /// Whether the tables end with the session.
    fn is_temporary(&self) -> bool;

    /// The latest state of a table; `None` if there is none.
    fn state(&self, at: &(String, String)) -> Result<Option<TableState>>;

    /// Adds a table with these files. `Ok(false)` if the table exists and IF NOT EXISTS allows that.
    fn create(
        &self,
        at: &(String, String),
        schema: SchemaRef,
        written: Written,
        if_taken: IfTaken,
    ) -> Result<bool>;

    /// The list of files of an existing table, to append to; an error if the user may not change the table.
    fn files(&self, at: &(String, String)) -> Result<Arc<dyn TableFiles>>;
}

/// The tables of the data directory, with the rights of a user.
pub(crate) struct ManagedTables<'a> {
    pub(crate) catalog: &'a Arc<Catalog>,
    pub(crate) access: &'a Access,
}

impl TableStore for ManagedTables<'_> {
    fn is_temporary(&self) -> bool {
        false
    }

    fn state(&self, at: &(String, String)) -> Result<Option<TableState>> {
        Ok(self.catalog.state(&at.0, &at.1)?.1)
    }

    fn create(
        &self,
        at: &(String, String),
        schema: SchemaRef,
        written: Written,
        if_taken: IfTaken,
    ) -> Result<bool> {
        let state = TableState::Managed {
            schema: schema.as_ref().clone(),
            files: written.files.clone(),
            indexes: vec![],
        };
        written.keep();
        self.catalog.create(self.access, at, &state, if_taken)
    }

    fn files(&self, at: &(String, String)) -> Result<Arc<dyn TableFiles>> {
        let ownership = self.catalog.entry(&at.0, &at.1)?.ownership;
        self.access.check_table(at, &ownership)?;
        Ok(self.catalog.files(at.clone(), ownership.id))
    }
}
