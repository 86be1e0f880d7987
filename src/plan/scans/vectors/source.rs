//! [`VECTOR_SCANS`]: the rule that replaces scans of vectors; [`VectorSource`]: what such a scan knows of its files.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{
    FileOpenFuture, FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource,
    ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::functions::core::file_row_index::FileRowIndexFunc;
use datafusion::functions::core::input_file_name::InputFileNameFunc;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr_adapter::rewrite::expr_references_scalar_udf;
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::proto::ExecutionPlanEncodeCtx;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::StreamExt;

use super::column::is_vector;
use super::opener::{Usual, VectorOpener};
use super::scan::Scan;
use crate::error::{Result, SqlState, sql_err};
use crate::plan::scans::rule::ScanRule;
use crate::storage::ObjectStore;

/// Must run after all rules that look into the source of a scan.
pub(crate) const VECTOR_SCANS: ScanRule = ScanRule {
    name: "VectorScans",
    other: with_vectors,
};

fn with_vectors(config: &FileScanConfig, options: &ConfigOptions) -> Option<FileScanConfig> {
    let parquet = config.file_source.downcast_ref::<ParquetSource>()?;
    if config.limit.is_some() || config.expr_adapter_factory.is_some() || !is_plain(parquet) {
        return None;
    }
    let source = VectorSource {
        parquet: parquet.clone(),
        batch_rows: options.execution.batch_size.into(),
    };
    let builder = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source));
    Some(builder.build())
}

/// Whether a scan reads vectors, and nothing but columns of files.
fn is_plain(parquet: &ParquetSource) -> bool {
    let (table, Some(projection)) = (parquet.table_schema(), parquet.projection()) else {
        return false;
    };
    let crypto = &parquet.table_parquet_options().crypto;
    let is_encrypted = crypto.file_decryption.is_some() || crypto.factory_id.is_some();
    let has_other_columns =
        !table.table_partition_cols().is_empty() || !table.virtual_columns().is_empty();
    if parquet.filter().is_some() || is_encrypted || has_other_columns {
        return false;
    }
    let fields = table.file_schema().fields();
    let columns = projection.column_indices().into_iter();
    let mut columns = columns.filter_map(|column| fields.get(column));
    columns.any(|field| is_vector(field.data_type()))
        && !projection
            .expr_iter()
            .any(|expression| is_of_source(&expression))
}

/// Whether an expression has a function whose value only the usual source knows.
fn is_of_source(expression: &Arc<dyn PhysicalExpr>) -> bool {
    expr_references_scalar_udf::<InputFileNameFunc>(expression)
        || expr_references_scalar_udf::<FileRowIndexFunc>(expression)
}

/// A scan of Parquet files, some of whose columns are vectors.
#[derive(Debug, Clone)]
struct VectorSource {
    parquet: ParquetSource,
    batch_rows: usize,
}

impl FileSource for VectorSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let usual = usual(&self.parquet, Arc::clone(&store), config, partition)?;
        let (table, Some(projection)) = (self.table_schema(), self.projection()) else {
            let message = "a scan of vectors has no columns";
            return Err(sql_err(SqlState::Internal, message));
        };
        let is_local = config.object_store_url == ObjectStoreUrl::local_filesystem();
        let local = is_local.then(|| Arc::clone(&store));
        let readers: Arc<dyn ParquetFileReaderFactory> =
            match self.parquet.parquet_file_reader_factory() {
                Some(readers) => Arc::clone(readers),
                None => Arc::new(DefaultParquetFileReaderFactory::new(store)),
            };
        let schema = table.file_schema().project(&projection.column_indices())?;
        let scan = Scan {
            readers,
            local,
            partition,
            batch_rows: self.batch_rows,
            metadata_bytes: self
                .parquet
                .table_parquet_options()
                .global
                .metadata_size_hint,
            metrics: self.metrics().clone(),
            table: Arc::clone(table.file_schema()),
            schema: Arc::new(schema),
        };
        let declared = Arc::new(projection.project_schema(table.table_schema())?);
        let opener = VectorOpener::try_new(scan, projection, declared, usual)?;
        Ok(Arc::new(opener))
    }

    fn table_schema(&self) -> &TableSchema {
        self.parquet.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        let source = self.parquet.with_batch_size(batch_size);
        match source.downcast_ref::<ParquetSource>().cloned() {
            Some(parquet) => Arc::new(Self {
                parquet,
                batch_rows: batch_size,
            }),
            None => source,
        }
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.parquet.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.parquet.metrics()
    }

    fn file_type(&self) -> &str {
        self.parquet.file_type()
    }

    fn fmt_extra(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parquet.fmt_extra(format, f)
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.parquet.apply_expressions(f)
    }

    /// The scan travels as one of the usual source.
    fn try_to_proto(
        &self,
        config: &FileScanConfig,
        context: &ExecutionPlanEncodeCtx<'_>,
    ) -> Result<Option<PhysicalPlanNode>> {
        self.parquet.try_to_proto(config, context)
    }
}

/// Opens files by the usual source, which gives plans of morsels; here, a file is the stream of its morsels.
fn usual(
    parquet: &ParquetSource,
    store: Arc<dyn ObjectStore>,
    config: &FileScanConfig,
    partition: usize,
) -> Result<Usual> {
    let morsels = parquet.create_morselizer(store, config, partition)?;
    let usual: Usual = Arc::new(move |file: PartitionedFile| -> Result<FileOpenFuture> {
        let mut planners = VecDeque::from([morsels.plan_file(file)?]);
        Ok(Box::pin(async move {
            let mut batches = Vec::new();
            while let Some(planner) = planners.pop_front() {
                let Some(mut plan) = planner.plan()? else {
                    continue;
                };
                let found = plan.take_morsels().into_iter();
                batches.extend(found.map(|morsel| morsel.into_stream()));
                planners.extend(plan.take_ready_planners());
                if let Some(pending) = plan.take_pending_planner() {
                    planners.push_back(pending.await?);
                }
            }
            Ok(futures::stream::iter(batches).flatten().boxed())
        }))
    });
    Ok(usual)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, ListArray};
    use datafusion::arrow::datatypes::Float32Type;
    use datafusion::arrow::record_batch::RecordBatch;
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::file::properties::WriterProperties;
    use datafusion::physical_plan::ExecutionPlan;
    use futures::TryStreamExt;

    use super::*;
    use crate::Engine;
    use crate::plan::scans::file_scan;

    #[tokio::test(flavor = "multi_thread")]
    async fn scans_of_vectors_without_conditions_are_replaced() {
        let engine = Engine::builder().build().unwrap();
        let session = engine.session().unwrap();
        let create = "CREATE TABLE t AS SELECT value AS id, arrow_cast([value, 0.5], 'List(Float32)') AS v, \
                      [value, 7] AS w FROM generate_series(1, 9000)";
        let rows = session.sql(create).await.unwrap();
        rows.try_collect::<Vec<_>>().await.unwrap();
        for (query, expected) in [
            ("SELECT id, v FROM t", true),
            (
                "SELECT id FROM t ORDER BY inner_product(v, [1.0, 1.0]) LIMIT 1",
                true,
            ),
            ("SELECT id, w FROM t", false),
            ("SELECT v FROM t WHERE id = 7", false),
            ("SELECT v FROM t LIMIT 5", false),
        ] {
            let plan = session.plan_query(query).await.unwrap();
            let plan = session.physical_plan(&plan).await.unwrap();
            assert_eq!(is_replaced(&plan), expected, "{query}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn more_vectors_than_rows_are_an_error() {
        let vectors = (0..256).map(|row| Some([row as f32, 0.5].map(Some)));
        let vectors = ListArray::from_iter_primitive::<Float32Type, _, _>(vectors);
        let columns: [(&str, ArrayRef); 2] = [
            ("id", Arc::new(Int64Array::from_iter_values(0..256))),
            ("v", Arc::new(vectors)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder().set_dictionary_enabled(false);
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        // The levels 0, 1, 0, 1 … are a run of 63 groups of bits and one of one group. With a last level of 0, the last number is a
        // vector of its own.
        let mut groups = bytes.windows(3);
        let groups = groups.position(|group| group == [0xaa, 0x03, 0xaa]);
        bytes[groups.unwrap() + 2] = 0x2a;
        let file = tempfile::Builder::new().suffix(".parquet").tempfile();
        let file = file.unwrap();
        std::fs::write(file.path(), &bytes).unwrap();

        let engine = Engine::builder().build().unwrap();
        let session = engine.session().unwrap();
        for columns in ["id, v", "v"] {
            let query = format!("SELECT {columns} FROM '{}'", file.path().display());
            let rows = session.sql(&query).await.unwrap();
            let error = rows.try_collect::<Vec<_>>().await.unwrap_err();
            let error = error.to_string();
            assert!(error.contains("is damaged: a column of vectors"), "{error}");
        }
    }

    fn is_replaced(plan: &Arc<dyn ExecutionPlan>) -> bool {
        let scan = file_scan(plan.as_ref());
        scan.is_some_and(|scan| scan.file_source.is::<VectorSource>())
            || plan.children().into_iter().any(is_replaced)
    }
}
