//! Temporary tables of a session, which other sessions do not see and which are dropped with the session.
//!
//! Their files lie beside the files of managed tables, so that temporary tables may be larger than memory and executors
//! can read them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{SetExpr, Statement as SqlStatement};
use futures::StreamExt;

use super::changes::ChangedTable;
use super::files::{ManagedFile, Replacement, TableFiles, Written};
use super::managed::ManagedTable;
use super::state::{TableState, changed_meanwhile, check_unchanged, should_create};
use super::store::TableStore;
use crate::error::Result;
use crate::storage::IfTaken;
use crate::storage::data_dir::DataDir;

/// The temporary tables of a session, by schema and name. They hide persistent tables of the same name.
#[derive(Debug, Default)]
pub(crate) struct TemporaryTables(Mutex<BTreeMap<(String, String), TemporaryTable>>);

/// A temporary table in one state. Its files are removed when neither the session, nor a plan that reads them, nor the
/// plan's rows hold them.
#[derive(Debug)]
struct TemporaryTable {
    schema: SchemaRef,
    written: Vec<Arc<Written>>,
}

impl TemporaryTable {
    fn state(&self) -> TableState {
        TableState::Managed {
            schema: self.schema.as_ref().clone(),
            files: self.files(),
            indexes: vec![],
        }
    }

    fn files(&self) -> Vec<ManagedFile> {
        let files = self.written.iter().flat_map(|written| &written.files);
        files.cloned().collect()
    }
}

impl TemporaryTables {
    /// The names of a schema's temporary tables.
    pub(crate) fn names(&self, schema: &str) -> Vec<String> {
        let tables = self.lock();
        let names = tables.keys().filter(|(of, _)| of == schema);
        names.map(|(_, name)| name.clone()).collect()
    }

    pub(crate) fn has(&self, at: &(String, String)) -> bool {
        self.lock().contains_key(at)
    }

    /// Opens a table in its current state.
    pub(crate) fn open(
        self: &Arc<Self>,
        data: &Arc<DataDir>,
        at: &(String, String),
    ) -> Option<Arc<dyn TableProvider>> {
        let tables = self.lock();
        let table = tables.get(at)?;
        let schema = Arc::clone(&table.schema);
        let list = Arc::new(SessionFiles {
            tables: Arc::clone(self),
            at: at.clone(),
            _written: table.written.clone(),
        });
        let (data, files) = (Arc::clone(data), table.files());
        let opened = ManagedTable::new(data, at.clone(), schema, files, list);
        Some(Arc::new(opened))
    }

    /// Appends files to a table, or replaces its files by them.
    fn insert(
        &self,
        at: &(String, String),
        schema: &SchemaRef,
        written: Written,
        overwrite: bool,
    ) -> Result<()> {
        let written = Arc::new(written);
        let mut tables = self.lock();
        let table = tables.get_mut(at);
        let current = table.as_ref().map(|table| table.schema.as_ref());
        let unchanged = check_unchanged(&at.1, current, schema).map(|_| ());
        let mut before = vec![];
        if let (Some(table), Ok(())) = (table, &unchanged) {
            if overwrite {
                before = std::mem::take(&mut table.written);
            }
            table.written.push(Arc::clone(&written));
        }
        drop(tables);
        drop(before);
        unchanged
    }

    /// Replaces files of a table.
    fn replace(
        &self,
        at: &(String, String),
        schema: &SchemaRef,
        replacement: Replacement,
    ) -> Result<()> {
        let mut tables = self.lock();
        let table = tables.get_mut(at);
        let current = table.as_ref().map(|table| table.schema.as_ref());
        check_unchanged(&at.1, current, schema)?;
        let Some(table) = table else {
            return Ok(());
        };
        let files = replacement.applied(&table.files());
        let files = files.ok_or_else(|| changed_meanwhile(&at.1))?;
        let new = replacement.written.map(Arc::new);
        let before = std::mem::take(&mut table.written);
        // Each was written with one file.
        let mut all: Vec<Arc<Written>> = before.iter().chain(&new).map(Arc::clone).collect();
        all.retain(|written| written.files.iter().any(|file| files.contains(file)));
        let place = |written: &Arc<Written>| {
            let first = written.files.first();
            files.iter().position(|file| Some(file) == first)
        };
        all.sort_by_key(place);
        table.written = all;
        drop(tables);
        drop(before);
        Ok(())
    }

    /// Removes a table; `false` if it does not exist.
    pub(crate) fn remove(&self, at: &(String, String)) -> bool {
        let removed = self.lock().remove(at);
        removed.is_some()
    }

    /// Removes a schema's tables.
    pub(crate) fn remove_schema(&self, schema: &str) {
        let mut tables = self.lock();
        let removed: Vec<_> = tables.extract_if(.., |(of, _), _| of == schema).collect();
        drop(tables);
        drop(removed);
    }

    /// Removes all tables.
    pub(crate) fn clear(&self) {
        let removed = std::mem::take(&mut *self.lock());
        drop(removed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), TemporaryTable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TableStore for Arc<TemporaryTables> {
    fn is_temporary(&self) -> bool {
        true
    }

    fn state(&self, at: &(String, String)) -> Result<Option<TableState>> {
        Ok(self.lock().get(at).map(TemporaryTable::state))
    }

    fn create(
        &self,
        at: &(String, String),
        schema: SchemaRef,
        written: Written,
        if_taken: IfTaken,
    ) -> Result<bool> {
        let written = vec![Arc::new(written)];
        let table = TemporaryTable { schema, written };
        let mut tables = self.lock();
        let current = tables.get(at).map(TemporaryTable::state);
        let creates = should_create(if_taken, &at.1, current.as_ref(), &table.state());
        // The lock is released before the replaced table removes its files.
        let before = match creates {
            Ok(true) => tables.insert(at.clone(), table),
            _ => Some(table),
        };
        drop(tables);
        drop(before);
        creates
    }

    fn files(&self, at: &(String, String)) -> Result<Arc<dyn TableFiles>> {
        Ok(Arc::new(SessionFiles {
            tables: Arc::clone(self),
            at: at.clone(),
            _written: vec![],
        }))
    }
}

/// The list of files of a temporary table.
#[derive(Debug)]
struct SessionFiles {
    tables: Arc<TemporaryTables>,
    at: (String, String),
    /// Keeps the files that a plan reads.
    _written: Vec<Arc<Written>>,
}

#[async_trait]
impl TableFiles for SessionFiles {
    fn is_temporary(&self) -> bool {
        true
    }

    async fn append(&self, schema: &SchemaRef, written: Written, overwrite: bool) -> Result<()> {
        self.tables.insert(&self.at, schema, written, overwrite)
    }

    fn replace(&self, schema: &SchemaRef, replacement: Replacement) -> Result<()> {
        self.tables.replace(&self.at, schema, replacement)
    }
}

/// The temporary tables that a plan reads.
fn temporaries(plan: &LogicalPlan) -> Result<Vec<(TableReference, Arc<dyn TableProvider>)>> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(table) = source_as_provider(&scan.source)
            && is_temporary(&table)
        {
            found.push((scan.table_name.clone(), table));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

pub(crate) fn is_temporary(table: &Arc<dyn TableProvider>) -> bool {
    if let Some(changed) = table.downcast_ref::<ChangedTable>() {
        return changed.is_temporary();
    }
    let table = table.downcast_ref::<ManagedTable>();
    table.is_some_and(ManagedTable::is_temporary)
}

/// The name of the first temporary table that a plan reads.
pub(crate) fn temporary_of(plan: &LogicalPlan) -> Result<Option<String>> {
    let found = temporaries(plan)?.into_iter().next();
    Ok(found.map(|(name, _)| name.table().to_owned()))
}

/// Keeps the files of the temporary tables that a plan reads, while its rows are read.
pub(crate) struct Held(Vec<(TableReference, Arc<dyn TableProvider>)>);

impl Held {
    pub(crate) fn of(plan: &LogicalPlan) -> Result<Self> {
        temporaries(plan).map(Self)
    }

    /// Returns the rows with the files kept until the stream is dropped, even if the tables are dropped before.
    pub(crate) fn by(self, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        if self.0.is_empty() {
            return rows;
        }
        let schema = rows.schema();
        let rows = rows.inspect(move |_| {
            let _ = &self;
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }
}

/// Whether a statement creates a temporary table; removes TEMPORARY from the statement, as DataFusion cannot plan it.
pub(crate) fn take_temporary(statement: &mut DFStatement) -> bool {
    let DFStatement::Statement(inner) = statement else {
        return false;
    };
    match inner.as_mut() {
        SqlStatement::CreateTable(table) => std::mem::take(&mut table.temporary),
        SqlStatement::Query(query) => match query.body.as_mut() {
            SetExpr::Select(select) => match &mut select.into {
                Some(into) => std::mem::take(&mut into.temporary),
                None => false,
            },
            _ => false,
        },
        _ => false,
    }
}
