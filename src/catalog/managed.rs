//! [`ManagedTable`]: Parquet files in the data directory, which are written whole and then named by the catalog.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};

use super::files::{FILE, ManagedFile, TableFiles};
use super::indexes::VectorIndex;
use super::missing_files::Files;
use super::write::write_rows;
use crate::error::{Result, SqlState, sql_err};
use crate::storage::Place;
use crate::storage::data_dir::DataDir;

/// A managed table in one state.
#[derive(Debug, Clone)]
pub(crate) struct ManagedTable {
    data: Arc<DataDir>,
    /// The schema and the name of the table.
    at: (String, String),
    schema: SchemaRef,
    files: Vec<ManagedFile>,
    /// The list that new files are appended to.
    list: Arc<dyn TableFiles>,
    indexes: Vec<VectorIndex>,
}

impl ManagedTable {
    pub(super) fn new(
        data: Arc<DataDir>,
        at: (String, String),
        schema: SchemaRef,
        files: Vec<ManagedFile>,
        list: Arc<dyn TableFiles>,
    ) -> Self {
        Self {
            data,
            at,
            schema,
            files,
            list,
            indexes: vec![],
        }
    }

    /// The table with its indexes.
    pub(super) fn with_indexes(mut self, indexes: Vec<VectorIndex>) -> Self {
        self.indexes = indexes;
        self
    }

    pub(super) fn indexes(&self) -> &[VectorIndex] {
        &self.indexes
    }

    pub(super) fn files(&self) -> &[ManagedFile] {
        &self.files
    }

    pub(super) fn data(&self) -> &DataDir {
        &self.data
    }

    /// The schema and the name of the table.
    pub(super) fn at(&self) -> &(String, String) {
        &self.at
    }

    pub(super) fn list(&self) -> &dyn TableFiles {
        self.list.as_ref()
    }

    /// The place of files of the table.
    pub(super) fn blobs(&self) -> Place {
        self.data.blobs()
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.list.is_temporary()
    }

    /// The place of a file of the table.
    fn place(&self, file: &ManagedFile) -> Place {
        self.data.blobs().join(&file.directory).join(FILE)
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
        // Without filters, DataFusion stops listing files once it has enough rows.
        let limit = limit.filter(|_| filters.is_empty());
        files.check_scan(&scan, limit)?;
        Ok(scan)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Parquet skips row groups and pages; a filter above the scan removes the remaining rows.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    /// The number of rows, which the list of files has.
    fn statistics(&self) -> Option<Statistics> {
        let rows: u64 = self.files.iter().map(|file| file.rows).sum();
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Exact(usize::try_from(rows).ok()?);
        Some(statistics)
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
            data: Arc::clone(&self.data),
            at: self.at.clone(),
            schema: Arc::clone(&self.schema),
            list: Arc::clone(&self.list),
            overwrite,
        };
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(sink), None)))
    }
}

#[derive(Debug)]
struct InsertSink {
    data: Arc<DataDir>,
    at: (String, String),
    schema: SchemaRef,
    list: Arc<dyn TableFiles>,
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
        let is_temporary = self.list.is_temporary();
        let written = write_rows(&self.data, &self.schema, rows, is_temporary).await?;
        let count = written.rows();
        self.list
            .append(&self.schema, written, self.overwrite)
            .await?;
        Ok(count)
    }
}
