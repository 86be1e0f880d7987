//! [`ChangeSink`]: writes the files with changed rows again, and publishes the list of files that has them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::datasource::sink::DataSink;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};

use super::super::files::Replacement;
use super::super::managed::ManagedTable;
use super::super::write::write_rows;
use super::change::Change;
use super::changed_rows::ChangedRows;
use super::rewrite::{Done, Rewriting};
use crate::error::Result;

#[derive(Debug)]
pub(super) struct ChangeSink {
    pub(super) table: ManagedTable,
    pub(super) change: Change,
    /// The scan of all columns of the table; `None` if all rows are removed.
    pub(super) scan: Option<Arc<dyn ExecutionPlan>>,
    /// The columns of the changed rows.
    pub(super) schema: SchemaRef,
}

impl ChangeSink {
    /// Removes all rows and returns their number.
    fn clear(&self) -> Result<u64> {
        let files = self.table.files();
        let rows = files.iter().map(|file| file.rows).sum();
        if rows > 0 {
            self.publish(Replacement {
                read: files.to_vec(),
                replaced: (0..files.len()).collect(),
                written: None,
            })?;
        }
        Ok(rows)
    }

    fn publish(&self, replacement: Replacement) -> Result<()> {
        let schema = self.table.schema();
        self.table.list().replace(&schema, replacement)
    }
}

impl DisplayAs for ChangeSink {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (schema, table) = self.table.at();
        let name = match self.change {
            Change::Clear | Change::Delete => "DeleteSink",
            Change::Update(_) => "UpdateSink",
        };
        write!(f, "{name}(table={schema}.{table})")
    }
}

#[async_trait]
impl DataSink for ChangeSink {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(
        &self,
        rows: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> Result<u64> {
        let Some(scan) = &self.scan else {
            return self.clear();
        };
        let mut changed = ChangedRows::new(rows);
        if changed.next_place().await?.is_none() {
            return Ok(0);
        }
        let done = Arc::new(Mutex::new(Done::default()));
        let rewriting = Rewriting {
            changed,
            change: self.change.clone(),
            files: self.table.files().to_vec(),
            scan: Arc::clone(scan),
            context: Arc::clone(context),
            done: Arc::clone(&done),
        };
        let schema = self.table.schema();
        let rows = RecordBatchStreamAdapter::new(Arc::clone(&schema), rewriting.rows());
        let is_temporary = self.table.is_temporary();
        let written = write_rows(self.table.data(), &schema, Box::pin(rows), is_temporary).await?;
        let done = std::mem::take(&mut *done.lock().unwrap_or_else(PoisonError::into_inner));
        self.publish(Replacement {
            read: self.table.files().to_vec(),
            replaced: done.files,
            // A file without rows is removed.
            written: Some(written).filter(|written| written.rows() > 0),
        })?;
        Ok(done.rows)
    }
}
