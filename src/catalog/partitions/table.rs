//! [`PartitionedTable`]: a table of files in folders such as `year=2024/`, whose names are column values.
//!
//! DataFusion's own table takes a folder's name literally, declares such a column as never NULL, and skips files in
//! other places. Here the folder that Hive and Spark write for NULL means NULL, the folder's value takes precedence
//! over a column of the same name in the file, and a file in another place is an error. The scan is an operator of
//! DataFusion, which travels to executors.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics, project_schema};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl, PartitionedFile,
};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchemaBuilder;
use datafusion::execution::SessionState;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{CreateExternalTable, Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, case, cast, is_null, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;
use futures::{StreamExt, TryStreamExt};
use vatic_ml::data::types::type_name;

use super::folders::{Folders, NULL_FOLDER};
use super::prune::kept_files;
use crate::error::{Result, SqlState, sql_err};
use crate::plan::csv;
use crate::storage::{ObjectMeta, ObjectStore};

/// The number of footers read concurrently.
const FOOTERS: usize = 32;

/// A table of files in folders.
#[derive(Debug)]
pub(crate) struct PartitionedTable {
    folders: Folders,
    format: Arc<dyn FileFormat>,
    /// The columns in the files.
    inner: SchemaRef,
    partitions: Vec<FieldRef>,
    schema: SchemaRef,
    /// Writes rows into the folders, from the folders' values as text.
    writer: ListingTable,
}

/// Opens the files as a partitioned table, if they are in folders of values.
pub(crate) async fn open_partitioned(
    state: &SessionState,
    create: &CreateExternalTable,
) -> Result<Option<PartitionedTable>> {
    let Some(factory) = state.get_file_format_factory(&create.file_type) else {
        return Ok(None);
    };
    let urls = create.locations.iter().map(ListingTableUrl::parse);
    let urls = urls.collect::<Result<Vec<_>>>()?;
    let is_csv = factory.get_ext() == "csv";
    // The name of a CSV file says how it is compressed.
    if !is_csv && create.options.contains_key("format.compression") {
        return Ok(None);
    }
    let is_folder = |url: &ListingTableUrl| url.is_collection() && url.get_glob().is_none();
    if urls.is_empty() || !urls.iter().all(is_folder) {
        return Ok(None);
    }
    let mut folders = Folders::new(urls, factory.get_ext(), create.table_partition_cols.clone());
    let store = state.runtime_env().object_store(folders.store())?;
    let is_declared = !create.schema.fields().is_empty();
    if folders.names.is_empty() {
        if is_declared {
            return Ok(None);
        }
        folders.find_names(&store).await?;
        if folders.names.is_empty() {
            return Ok(None);
        }
    }
    let format = match is_csv {
        true => csv::with_reader(state, csv::Table::of(create).in_folders(&folders.names))?
            .get_file_format_factory("csv")
            .unwrap_or(factory),
        false => factory,
    };
    let format = format.create(state, &create.options)?;
    let (inner, partitions) = match is_declared {
        true => declared(create.schema.inner(), &folders.names)?,
        false => {
            let files = folders.files(&store).await?;
            let files: Vec<ObjectMeta> = files.into_iter().map(|(file, _)| file).collect();
            let found = format.infer_schema(state, &store, &files).await?;
            undeclared(&found, &folders.names)
        }
    };
    let table = PartitionedTable::try_new(folders, format, inner, partitions)?;
    // Finds a file in a wrong place, and a folder's value of a wrong type.
    table.files(&store).await?;
    Ok(Some(table))
}

/// The columns of the files, and of the folders with their declared types.
fn declared(schema: &Schema, names: &[String]) -> Result<(SchemaRef, Vec<FieldRef>)> {
    let partitions = names.iter().map(|name| {
        let (_, field) = schema.column_with_name(name).ok_or_else(|| {
            let message = format!("column \"{name}\" of PARTITIONED BY is not among the columns");
            sql_err(SqlState::MissingColumn, message)
        })?;
        Ok(Arc::new(field.clone().with_nullable(true)))
    });
    let partitions = partitions.collect::<Result<_>>()?;
    Ok((without(schema, names), partitions))
}

/// The inferred columns of the files, and of the folders as text.
fn undeclared(schema: &Schema, names: &[String]) -> (SchemaRef, Vec<FieldRef>) {
    let text = DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8));
    let partitions = names
        .iter()
        .map(|name| Arc::new(Field::new(name, text.clone(), true)));
    (without(schema, names), partitions.collect())
}

fn without(schema: &Schema, names: &[String]) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields: Fields = fields
        .filter(|field| !names.contains(field.name()))
        .cloned()
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

impl PartitionedTable {
    fn try_new(
        folders: Folders,
        format: Arc<dyn FileFormat>,
        inner: SchemaRef,
        partitions: Vec<FieldRef>,
    ) -> Result<Self> {
        let fields: Fields = inner.fields().iter().chain(&partitions).cloned().collect();
        let schema = Schema::new_with_metadata(fields, inner.metadata().clone());
        let texts = folders.names.iter();
        let texts = texts.map(|name| (name.clone(), DataType::Utf8)).collect();
        let options = ListingOptions::new(Arc::clone(&format)).with_table_partition_cols(texts);
        let config = ListingTableConfig::new_with_multi_paths(folders.urls.clone())
            .with_listing_options(options.with_file_extension(""))
            .with_schema(Arc::clone(&inner));
        Ok(Self {
            folders,
            format,
            inner,
            partitions,
            schema: Arc::new(schema),
            writer: ListingTable::try_new(config)?,
        })
    }

    /// All files, with the values of their folders.
    async fn files(&self, store: &Arc<dyn ObjectStore>) -> Result<Vec<PartitionedFile>> {
        let files = self.folders.files(store).await?;
        let files = files.into_iter().map(|(file, texts)| {
            let values = texts.iter().zip(&self.partitions);
            let values = values.map(|(text, field)| value(&file, text, field));
            let values = values.collect::<Result<_>>()?;
            Ok(PartitionedFile::from(file).with_partition_values(values))
        });
        files.collect()
    }

    /// The files that may have rows for these conditions, judged by their folders. A condition that fails for a folder fails
    /// again above the scan, if it is evaluated for that folder there.
    fn pruned(
        &self,
        state: &dyn Session,
        files: Vec<PartitionedFile>,
        filters: &[Expr],
    ) -> Vec<PartitionedFile> {
        match kept_files(state, &self.partitions, &files, filters) {
            Ok(kept) => {
                let files = files.into_iter().zip(kept);
                files
                    .filter_map(|(file, kept)| kept.then_some(file))
                    .collect()
            }
            Err(_) => files,
        }
    }

    /// The number of rows, if the files' statistics have it.
    async fn statistics(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        files: &[PartitionedFile],
    ) -> Result<Statistics> {
        let mut total = Statistics::new_unknown(&self.schema);
        if !state.config().collect_statistics() {
            return Ok(total);
        }
        let reading = files.iter().map(|file| {
            let schema = Arc::clone(&self.inner);
            self.format
                .infer_stats(state, store, schema, &file.object_meta)
        });
        let reading: Vec<_> = reading.collect();
        let found = futures::stream::iter(reading).buffered(FOOTERS);
        let found: Vec<Statistics> = found.try_collect().await?;
        total.num_rows = found
            .iter()
            .fold(Precision::Exact(0), |rows, file| rows.add(&file.num_rows));
        total.total_byte_size = found.iter().fold(Precision::Exact(0), |bytes, file| {
            bytes.add(&file.total_byte_size)
        });
        Ok(total)
    }
}

/// The column value of a folder's name.
fn value(file: &ObjectMeta, text: &str, field: &Field) -> Result<ScalarValue> {
    let data_type = field.data_type();
    if text == NULL_FOLDER {
        return ScalarValue::try_new_null(data_type);
    }
    ScalarValue::try_from_string(text.to_owned(), data_type).map_err(|_| {
        let message = format!(
            "the folder of {} gives column \"{}\" the value '{text}', which is no {}; declare another type",
            file.location,
            field.name(),
            type_name(data_type)
        );
        sql_err(SqlState::InvalidCast, message)
    })
}

#[async_trait]
impl TableProvider for PartitionedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let store = state.runtime_env().object_store(self.folders.store())?;
        let files = self.files(&store).await?;
        let files = self.pruned(state, files, filters);
        if files.is_empty() {
            let schema = project_schema(&self.schema, projection)?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let statistics = self.statistics(state, &store, &files).await?;
        let schema = TableSchemaBuilder::from(&self.inner)
            .with_table_partition_cols(self.partitions.clone())
            .build();
        let source = self.format.file_source(schema);
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let config = FileScanConfigBuilder::new(self.folders.store().object_store(), source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        self.format.create_physical_plan(state, config).await
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // The scan skips folders; a filter above the scan removes the remaining rows.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        operation: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = input.schema();
        let exprs = schema.fields().iter().enumerate().map(|(index, field)| {
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), index));
            let expr = match self.folders.names.contains(field.name()) {
                true => folder_name(column, &schema)?,
                false => column,
            };
            Ok((expr, field.name().clone()))
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        let texts = Arc::new(ProjectionExec::try_new(exprs, input)?);
        self.writer.insert_into(state, texts, operation).await
    }
}

/// The folder's name for a value.
fn folder_name(column: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let text = cast(Arc::clone(&column), schema, DataType::Utf8)?;
    case(None, vec![(is_null(column)?, lit(NULL_FOLDER))], Some(text))
}
