//! [`ChangedTable`]: a managed table whose rows have their places as two more columns, for a statement that changes rows.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{ScalarValue, Statistics, project_schema};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource,
};
use datafusion::datasource::sink::DataSinkExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::parquet::arrow::RowNumber;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, LexRequirement, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use super::super::managed::ManagedTable;
use super::change::Change;
use super::sink::ChangeSink;
use crate::error::{Result, SqlState, sql_err};
use crate::plan::scans::file_scan;

/// A managed table in the state that a statement reads and changes.
#[derive(Debug)]
pub(in crate::catalog) struct ChangedTable {
    table: ManagedTable,
    /// The columns of the table, the number of the file, and the number of the row in the file, both from 0.
    schema: SchemaRef,
    change: Change,
}

impl ChangedTable {
    pub(super) fn new(table: ManagedTable, change: Change) -> Self {
        let columns = table.schema();
        let fields = columns.fields().iter().map(Arc::clone);
        let places = [file_column(&columns), row_column(&columns)];
        let fields: Vec<FieldRef> = fields.chain(places).collect();
        let schema = Arc::new(Schema::new_with_metadata(
            fields,
            columns.metadata().clone(),
        ));
        Self {
            table,
            schema,
            change,
        }
    }

    pub(in crate::catalog) fn is_temporary(&self) -> bool {
        self.table.is_temporary()
    }

    /// The scan of a table's files with two more columns.
    fn numbered(&self, scan: &FileScanConfig) -> Result<FileScanConfigBuilder> {
        let columns = self.table.schema();
        let file_schema = Arc::clone(scan.file_source.table_schema().file_schema());
        let table_schema = TableSchema::builder(file_schema)
            .with_table_partition_cols(vec![file_column(&columns)])
            .with_virtual_columns(vec![row_column(&columns)])
            .build();
        let mut statistics = Statistics::new_unknown(table_schema.table_schema());
        statistics.num_rows = scan.statistics().num_rows;
        let files = self.table.files().iter().enumerate();
        let numbers: HashMap<&str, usize> = files
            .map(|(number, file)| (file.directory.as_str(), number))
            .collect();
        let groups = scan.file_groups.iter().map(|group| -> Result<FileGroup> {
            let files = group.iter().map(|file| with_number(file, &numbers));
            Ok(FileGroup::new(files.collect::<Result<_>>()?))
        });
        let source = Arc::new(ParquetSource::new(table_schema));
        Ok(
            FileScanConfigBuilder::new(scan.object_store_url.clone(), source)
                .with_file_groups(groups.collect::<Result<_>>()?)
                .with_statistics(statistics),
        )
    }
}

fn file_column(table: &Schema) -> FieldRef {
    Arc::new(Field::new(
        free_name("__file", table),
        DataType::Int32,
        false,
    ))
}

fn row_column(table: &Schema) -> FieldRef {
    let field = Field::new(free_name("__row", table), DataType::Int64, true);
    Arc::new(field.with_extension_type(RowNumber))
}

/// A name that no column of the table has.
fn free_name(name: &str, table: &Schema) -> String {
    let mut name = name.to_owned();
    while table.column_with_name(&name).is_some() {
        name.push('_');
    }
    name
}

/// A file of a scan with its number among the files of the table. Statistics have no number, so they are left out.
fn with_number(file: &PartitionedFile, numbers: &HashMap<&str, usize>) -> Result<PartitionedFile> {
    let path: &str = file.object_meta.location.as_ref();
    let number = path.rsplit('/').nth(1).and_then(|name| numbers.get(name));
    let number = number.and_then(|number| i32::try_from(*number).ok());
    let Some(number) = number else {
        let message = format!("{path} is not a file of the table");
        return Err(sql_err(SqlState::Internal, message));
    };
    let mut file = file.clone();
    file.partition_values = vec![ScalarValue::Int32(Some(number))];
    file.statistics = None;
    Ok(file)
}

#[async_trait]
impl TableProvider for ChangedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = self.table.scan(state, None, filters, limit).await?;
        let Some(config) = file_scan(scan.as_ref()) else {
            let schema = project_schema(&self.schema, projection)?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        };
        let config = self
            .numbered(config)?
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        ParquetFormat::default()
            .create_physical_plan(state, config)
            .await
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }

    fn statistics(&self) -> Option<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = self.table.statistics()?.num_rows;
        Some(statistics)
    }

    /// The operator that changes the rows at the places that `input` returns.
    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        _operation: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (scan, order) = match &self.change {
            Change::Clear => (None, None),
            Change::Delete | Change::Update(_) => {
                let scan = self.table.scan(state, None, &[], None).await?;
                (Some(scan), order_of_places(&input.schema())?)
            }
        };
        let sink = ChangeSink {
            table: self.table.clone(),
            change: self.change.clone(),
            scan,
            schema: input.schema(),
        };
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(sink), order)))
    }
}

/// The order of files and of the rows in each.
fn order_of_places(input: &Schema) -> Result<Option<LexRequirement>> {
    let column = |at: usize| -> Result<PhysicalSortExpr> {
        let field = input.fields().get(at).ok_or_else(|| {
            let message = "the places of changed rows are missing";
            sql_err(SqlState::Internal, message)
        })?;
        let column = Column::new(field.name(), at);
        Ok(PhysicalSortExpr::new_default(Arc::new(column)))
    };
    let order = LexOrdering::new([column(0)?, column(1)?]);
    Ok(order.map(LexRequirement::from))
}
