//! Temporary tables: those of one session, which no other sees, and which end with it.
//!
//! Their files lie beside those of managed tables, so that they may be larger than memory and a cluster's executors read
//! them as well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use futures::StreamExt;

use crate::catalog::{Creation, TableState, check_unchanged};
use crate::engine::Engine;
use crate::error::Result;
use crate::managed_table::{ManagedTable, Written};

/// The temporary tables of a session, by schema and name. They hide others of their name.
#[derive(Debug, Default)]
pub(crate) struct TemporaryTables(Mutex<BTreeMap<(String, String), TemporaryTable>>);

/// A temporary table at one time. Its files are removed when nobody has them any more.
#[derive(Debug)]
struct TemporaryTable {
    schema: SchemaRef,
    files: Vec<Arc<Written>>,
}

impl TemporaryTable {
    fn state(&self) -> TableState {
        let files = self.files.iter().flat_map(|written| written.files.clone());
        TableState::Managed {
            schema: self.schema.as_ref().clone(),
            files: files.collect(),
        }
    }
}

impl TemporaryTables {
    /// Those of a schema.
    pub(crate) fn names(&self, schema: &str) -> Vec<String> {
        let tables = self.lock();
        let names = tables.keys().filter(|(of, _)| of == schema);
        names.map(|(_, name)| name.clone()).collect()
    }

    pub(crate) fn has(&self, at: &(String, String)) -> bool {
        self.lock().contains_key(at)
    }

    pub(crate) fn state(&self, at: &(String, String)) -> Option<TableState> {
        self.lock().get(at).map(TemporaryTable::state)
    }

    /// The table as it is now.
    ///
    /// # Errors
    /// If the data directory cannot be written to.
    pub(crate) fn open(
        self: &Arc<Self>,
        engine: &Engine,
        at: &(String, String),
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(TableState::Managed { schema, files }) = self.state(at) else {
            return Ok(None);
        };
        for file in &files {
            // To other processes these are files that nothing names, which they would remove.
            engine.data().unmark(&file.directory)?;
        }
        let table = ManagedTable::new(engine.clone(), at.clone(), Arc::new(schema), files);
        Ok(Some(Arc::new(table.temporary(Arc::clone(self)))))
    }

    /// Adds a table. `Ok(false)` if it is there and may be.
    pub(crate) fn create(
        &self,
        at: &(String, String),
        schema: SchemaRef,
        written: Written,
        how: Creation,
    ) -> Result<bool> {
        let files = vec![Arc::new(written)];
        let table = TemporaryTable { schema, files };
        let mut tables = self.lock();
        let current = tables.get(at).map(TemporaryTable::state);
        if !how.admits(&at.1, current.as_ref(), &table.state())? {
            return Ok(false);
        }
        tables.insert(at.clone(), table);
        Ok(true)
    }

    /// Appends files to a table, or replaces its files by them.
    pub(crate) fn insert(
        &self,
        at: &(String, String),
        schema: &SchemaRef,
        written: Written,
        overwrite: bool,
    ) -> Result<()> {
        let mut tables = self.lock();
        let table = tables.get_mut(at);
        check_unchanged(
            &at.1,
            table.as_ref().map(|table| table.schema.as_ref()),
            schema,
        )?;
        if let Some(table) = table {
            if overwrite {
                table.files.clear();
            }
            table.files.push(Arc::new(written));
        }
        Ok(())
    }

    /// Whether there was such a table.
    pub(crate) fn remove(&self, at: &(String, String)) -> bool {
        self.lock().remove(at).is_some()
    }

    /// The same rows, for which the files stay until all were read, whatever happens to the tables.
    pub(crate) fn hold(&self, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let tables = self.lock();
        let held: Vec<_> = tables
            .values()
            .flat_map(|table| table.files.clone())
            .collect();
        if held.is_empty() {
            return rows;
        }
        let schema = rows.schema();
        let rows = rows.inspect(move |_| {
            let _ = &held;
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), TemporaryTable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a statement makes a temporary table; it does not say so any more, as DataFusion plans none.
pub(crate) fn take_temporary(statement: &mut DFStatement) -> bool {
    match statement {
        DFStatement::Statement(inner) => match inner.as_mut() {
            SqlStatement::CreateTable(table) => std::mem::take(&mut table.temporary),
            _ => false,
        },
        _ => false,
    }
}
