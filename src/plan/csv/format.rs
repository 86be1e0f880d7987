//! [`CsvFiles`]: a file format for DataFusion that reads CSV files with our own scan.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::config::{ConfigFileType, CsvOptions};
use datafusion::common::{GetExt, Statistics};
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory};
use datafusion::datasource::physical_plan::{FileScanConfig, FileSinkConfig, FileSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::SessionState;
use datafusion::physical_expr::LexRequirement;
use datafusion::physical_plan::ExecutionPlan;

use super::bytes::File;
use super::infer::infer;
use super::options::{ReadOptions, Table, is_data};
use super::source::CsvTableSource;
use crate::error::{Result, SqlState, sql_err};
use crate::storage::{ObjectMeta, ObjectStore};

/// The session state with our CSV format, for one table.
pub(crate) fn with_reader(state: &SessionState, table: Table) -> Result<SessionState> {
    let mut state = state.clone();
    state.register_file_format(Arc::new(CsvFilesFactory { table }), true)?;
    Ok(state)
}

#[derive(Debug)]
struct CsvFilesFactory {
    table: Table,
}

impl GetExt for CsvFilesFactory {
    fn get_ext(&self) -> String {
        "csv".to_owned()
    }
}

impl FileFormatFactory for CsvFilesFactory {
    fn create(
        &self,
        state: &dyn Session,
        given: &HashMap<String, String>,
    ) -> Result<Arc<dyn FileFormat>> {
        let mut options = state.default_table_options();
        options.set_config_format(ConfigFileType::CSV);
        options.alter_with_string_hash_map(given)?;
        let read = ReadOptions::try_new(state, &options.csv, given, self.table.clone())?;
        Ok(Arc::new(CsvFiles {
            read: Arc::new(read),
            write: options.csv,
        }))
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        Arc::new(CsvFormat::default())
    }
}

/// The CSV file format: our scan for reading, DataFusion's writer for writing.
#[derive(Debug)]
struct CsvFiles {
    read: Arc<ReadOptions>,
    write: CsvOptions,
}

#[async_trait]
impl FileFormat for CsvFiles {
    fn get_ext(&self) -> String {
        "csv".to_owned()
    }

    /// A pattern, because each file in a folder shows its compression by its own name.
    fn get_ext_with_compression(&self, _compression: &FileCompressionType) -> Result<String> {
        Ok("csv*".to_owned())
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        Some(self.write.compression.into())
    }

    async fn infer_schema(
        &self,
        _state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        let files = objects.iter().map(|object| File {
            store: Arc::clone(store),
            path: object.location.clone(),
        });
        let mut files: Vec<File> = files.filter(|file| is_data(file.name())).collect();
        // The first file decides the order of columns, so it must not be the file that the system happens to list first.
        files.sort_by(|one, other| one.path.cmp(&other.path));
        let schema = infer(&files, &self.read).await?;
        if self.read.table.is_part {
            return Ok(Arc::new(schema));
        }
        // A column without values in the first rows may have values later; they would be lost if its type were NULL.
        let fields: Fields = schema
            .fields()
            .iter()
            .map(|field| match field.data_type() {
                DataType::Null => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
                _ => Arc::clone(field),
            })
            .collect();
        Ok(Arc::new(Schema::new(fields)))
    }

    async fn infer_stats(
        &self,
        _state: &dyn Session,
        _store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        _object: &ObjectMeta,
    ) -> Result<Statistics> {
        Ok(Statistics::new_unknown(&table_schema))
    }

    async fn create_physical_plan(
        &self,
        _state: &dyn Session,
        config: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(DataSourceExec::from_data_source(config))
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        state: &dyn Session,
        config: FileSinkConfig,
        order: Option<LexRequirement>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let null = self.write.null_value.clone().unwrap_or_default();
        if !self.read.is_null(&null)? {
            let message = format!(
                "NULL would be written as '{null}', which 'format.null_regex' does not match; set 'format.null_value' to a text that it matches"
            );
            return Err(sql_err(SqlState::InvalidParameter, message));
        }
        let format = CsvFormat::default().with_options(self.write.clone());
        format
            .create_writer_physical_plan(input, state, config, order)
            .await
    }

    fn file_source(&self, schema: TableSchema) -> Arc<dyn FileSource> {
        Arc::new(CsvTableSource::new(Arc::clone(&self.read), schema))
    }
}

/// Whether a file of this name in a folder belongs to the table of that folder.
pub(crate) fn is_in_folder(name: &str) -> bool {
    name.to_lowercase().contains(".csv") && is_data(name)
}
