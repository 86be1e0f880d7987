//! [`ManagedTable`]: Parquet files in the data directory, written whole and then named by the catalog.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::parquet::arrow::AsyncArrowWriter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::encoding::{SAMPLE_BYTES, SAMPLE_ROWS, properties};
use super::missing_files::Files;
use super::temporary::TemporaryTables;
use super::{Catalog, Insertion, insert};
use crate::error::{Result, SqlState, io_err, sql_err};
use crate::storage::data_dir::DataDir;
use crate::storage::{NewFile, Place};

const FILE: &str = "data.parquet";

/// One file of a managed table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManagedFile {
    /// The directory of the file below `blobs`.
    pub(crate) directory: String,
    pub(crate) rows: u64,
    /// Of files that were written before sizes were kept, none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
}

/// A managed table at one time.
#[derive(Debug)]
pub(crate) struct ManagedTable {
    catalog: Arc<Catalog>,
    at: (String, String),
    /// Which of those that had its name.
    id: Option<String>,
    schema: SchemaRef,
    files: Vec<ManagedFile>,
    /// Among which it is, if it is temporary, and what keeps its files.
    temporary: Option<(Arc<TemporaryTables>, Vec<Arc<Written>>)>,
}

impl ManagedTable {
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        at: (String, String),
        schema: SchemaRef,
        files: Vec<ManagedFile>,
    ) -> Self {
        Self {
            catalog,
            at,
            id: None,
            schema,
            files,
            temporary: None,
        }
    }

    /// The same, told from others of its name.
    pub(crate) fn identified(mut self, id: Option<String>) -> Self {
        self.id = id;
        self
    }

    /// The same as one of a session's.
    pub(crate) fn temporary(
        mut self,
        tables: Arc<TemporaryTables>,
        written: Vec<Arc<Written>>,
    ) -> Self {
        self.temporary = Some((tables, written));
        self
    }

    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Where a file of the table is.
    fn place(&self, file: &ManagedFile) -> Place {
        let blobs = self.catalog.data().blobs();
        blobs.join(&file.directory).join(FILE)
    }

    fn listing(&self) -> Result<Arc<dyn TableProvider>> {
        let urls = self
            .files
            .iter()
            .filter(|file| file.rows > 0)
            .map(|file| ListingTableUrl::parse(self.place(file).to_string()));
        let urls = urls.collect::<Result<Vec<_>>>()?;
        if urls.is_empty() {
            return Ok(Arc::new(EmptyTable::new(Arc::clone(&self.schema))));
        }
        let options = ListingOptions::new(Arc::new(ParquetFormat::default()));
        let config = ListingTableConfig::new_with_multi_paths(urls)
            .with_listing_options(options)
            .with_schema(Arc::clone(&self.schema));
        Ok(Arc::new(ListingTable::try_new(config)?))
    }
}

#[async_trait]
impl TableProvider for ManagedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        match self.is_temporary() {
            true => TableType::Temporary,
            false => TableType::Base,
        }
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = Files {
            files: &self.files,
            place: &|file: &ManagedFile| self.place(file),
        };
        let scan = self
            .listing()?
            .scan(state, projection, filters, limit)
            .await
            .map_err(|error| files.explained(error))?;
        // DataFusion stops looking for files when it has enough rows, if nothing is to filter them.
        let limit = limit.filter(|_| filters.is_empty());
        files.check_scan(&scan, limit)?;
        Ok(scan)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Parquet skips row groups and pages; the rows that are left are filtered above.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn insert_into(
        &self,
        _state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        operation: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let overwrite = match operation {
            InsertOp::Append => false,
            InsertOp::Overwrite => true,
            InsertOp::Replace => {
                return Err(sql_err(
                    SqlState::Unsupported,
                    "REPLACE INTO is not supported",
                ));
            }
        };
        let sink = InsertSink {
            catalog: Arc::clone(&self.catalog),
            at: self.at.clone(),
            id: self.id.clone(),
            schema: Arc::clone(&self.schema),
            temporary: self
                .temporary
                .as_ref()
                .map(|(tables, _)| Arc::clone(tables)),
            overwrite,
        };
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(sink), None)))
    }
}

#[derive(Debug)]
struct InsertSink {
    catalog: Arc<Catalog>,
    at: (String, String),
    id: Option<String>,
    schema: SchemaRef,
    temporary: Option<Arc<TemporaryTables>>,
    overwrite: bool,
}

impl DisplayAs for InsertSink {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InsertSink(table={}.{})", self.at.0, self.at.1)
    }
}

#[async_trait]
impl DataSink for InsertSink {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(
        &self,
        rows: SendableRecordBatchStream,
        _context: &Arc<TaskContext>,
    ) -> Result<u64> {
        let is_temporary = self.temporary.is_some();
        let written = write_files(self.catalog.data(), &self.schema, rows, is_temporary).await?;
        let count = written.rows();
        if let Some(tables) = &self.temporary {
            tables.insert(&self.at, &self.schema, written, self.overwrite)?;
            return Ok(count);
        }
        // A failure to publish may come after the publishing, so the files must stay; if not, they are orphans.
        written.keep();
        let insertion = Insertion {
            at: &self.at,
            id: self.id.as_deref(),
            schema: &self.schema,
            files: &written.files,
            overwrite: self.overwrite,
        };
        insert(&self.catalog, &insertion)?;
        Ok(count)
    }
}

/// Files that are deleted again unless they are kept.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) files: Vec<ManagedFile>,
    directory: Place,
    is_kept: AtomicBool,
}

impl Written {
    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// The catalog names the files now.
    pub(crate) fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if !self.is_kept.load(Ordering::Relaxed) {
            // What cannot be removed now is an orphan, and removed a day later.
            let _ = self.directory.remove_directory();
        }
    }
}

/// Writes rows to a new file and waits for the disk.
pub(crate) async fn write_files(
    data: &DataDir,
    schema: &SchemaRef,
    rows: SendableRecordBatchStream,
    is_temporary: bool,
) -> Result<Written> {
    let (name, directory) = match is_temporary {
        true => data.create_temporary_blob()?,
        false => data.create_blob()?,
    };
    let mut written = Written {
        files: vec![],
        directory: directory.clone(),
        is_kept: false.into(),
    };
    let place = directory.join(FILE);
    let failed = |error: std::io::Error| io_err(&place, &error);
    let (file, writer) = NewFile::create(&place).await.map_err(failed)?;
    let mut rows = rows.map(|batch| typed(&batch?, schema));
    let (mut first, mut count, mut bytes) = (Vec::new(), 0, 0);
    while count < SAMPLE_ROWS
        && bytes < SAMPLE_BYTES
        && let Some(batch) = rows.next().await.transpose()?
    {
        count += batch.num_rows();
        for column in batch.columns() {
            // Not of the memory that it was cut from.
            bytes += column.to_data().get_slice_memory_size()?;
        }
        first.push(batch);
    }
    let properties = properties(schema, &place, &first)?;
    let mut writer = AsyncArrowWriter::try_new(writer, Arc::clone(schema), Some(properties))?;
    for batch in first {
        writer.write(&batch).await?;
    }
    while let Some(batch) = rows.next().await.transpose()? {
        count += batch.num_rows();
        writer.write(&batch).await?;
    }
    writer.finish().await?;
    let bytes = writer.bytes_written() as u64;
    file.finish().await.map_err(failed)?;
    written.files.push(ManagedFile {
        directory: name,
        rows: count as u64,
        bytes: Some(bytes),
    });
    Ok(written)
}

/// A batch with the types of the table.
fn typed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    // The query's plan may give strings in another layout than it promised.
    let options = CastOptions {
        // What does not fit is an error and not NULL.
        safe: false,
        ..CastOptions::default()
    };
    let columns =
        columns.map(|(column, field)| cast_with_options(column, field.data_type(), &options));
    let columns = columns.collect::<Result<_, _>>()?;
    // It may allow NULLs where the table does not; this refuses those that are there.
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
