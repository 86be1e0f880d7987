//! [`CsvTableSource`]: the CSV part of DataFusion's file scan.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::physical_plan::{
    FileGroupPartitioner, FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;

use super::opener::CsvTableOpener;
use super::options::ReadOptions;
use super::quotes::Quotes;
use crate::error::Result;
use crate::plan::scans::declared;
use crate::storage::ObjectStore;

const BATCH_SIZE: usize = 8192;

/// The columns of a scan, and how its files are read.
#[derive(Debug, Clone)]
pub(super) struct CsvTableSource {
    pub(super) options: Arc<ReadOptions>,
    schema: TableSchema,
    batch_size: usize,
    projection: SplitProjection,
    metrics: ExecutionPlanMetricsSet,
    quotes: Arc<Quotes>,
}

impl CsvTableSource {
    pub(super) fn new(options: Arc<ReadOptions>, schema: TableSchema) -> Self {
        Self {
            options,
            projection: SplitProjection::unprojected(&schema),
            schema,
            batch_size: BATCH_SIZE,
            metrics: ExecutionPlanMetricsSet::new(),
            quotes: Arc::default(),
        }
    }
}

impl FileSource for CsvTableSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        _config: &FileScanConfig,
        _partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let opener = CsvTableOpener {
            options: Arc::clone(&self.options),
            schema: Arc::clone(self.schema.file_schema()),
            columns: self.projection.file_indices.clone(),
            batch_size: self.batch_size,
            store,
            quotes: Arc::clone(&self.quotes),
        };
        let projected = ProjectionOpener::try_new(
            self.projection.clone(),
            Arc::new(opener),
            self.schema.file_schema(),
        )?;
        declared(projected, &self.schema, &self.projection.source)
    }

    fn table_schema(&self) -> &TableSchema {
        &self.schema
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self {
            batch_size,
            ..self.clone()
        })
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let merged = self.projection.source.try_merge(projection)?;
        Ok(Some(Arc::new(Self {
            projection: SplitProjection::new(self.schema.file_schema(), &merged),
            ..self.clone()
        })))
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        "csv"
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        min_size: usize,
        output_ordering: Option<LexOrdering>,
        config: &FileScanConfig,
    ) -> Result<Option<FileScanConfig>> {
        // To count the quotes of a file in a remote store takes as long as to read the file.
        let is_local = config.object_store_url == ObjectStoreUrl::local_filesystem();
        if !self.supports_repartitioning() || !(is_local || self.options.says_no_breaks) {
            return Ok(None);
        }
        let groups = FileGroupPartitioner::new()
            .with_target_partitions(target_partitions)
            .with_repartition_file_min_size(min_size)
            .with_preserve_order_within_groups(output_ordering.is_some())
            .repartition_file_groups(&config.file_groups);
        Ok(groups.map(|groups| {
            let builder = FileScanConfigBuilder::from(config.clone());
            builder.with_file_groups(groups).build()
        }))
    }

    /// A reader that begins in the middle of a file cannot tell a line break in quotes from the end of a record.
    fn supports_repartitioning(&self) -> bool {
        !self.options.newlines_in_values
    }

    fn fmt_extra(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, ", has_header={}", self.options.has_header)
            }
            DisplayFormatType::TreeRender => Ok(()),
        }
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for projected in self.projection.source.iter() {
            if f(&projected.expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }
}
