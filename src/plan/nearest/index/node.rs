//! [`IndexNode`]: the logical node above the scan of a table with an index, and its plan.

use std::fmt;
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::{DFSchemaRef, DataFusionError, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;

use super::super::physical::in_one_partition;
use super::exec::IndexExec;
use super::spec::IndexSpec;
use crate::error::{Result, SqlState, sql_err};
use crate::plan::logical_nodes::equal_by_key;
use crate::plan::scans::file_scan;

/// The rows of a table near the queries; or all rows of its input, if the index is not used.
#[derive(Debug, Clone)]
pub(crate) struct IndexNode {
    items: LogicalPlan,
    /// One column of vectors; `None` if the query is a constant.
    queries: Option<LogicalPlan>,
    spec: IndexSpec,
}

impl IndexNode {
    pub(crate) fn new(items: LogicalPlan, queries: Option<LogicalPlan>, spec: IndexSpec) -> Self {
        Self {
            items,
            queries,
            spec,
        }
    }

    fn key(&self) -> (&LogicalPlan, &Option<LogicalPlan>, &IndexSpec) {
        (&self.items, &self.queries, &self.spec)
    }
}

impl UserDefinedLogicalNodeCore for IndexNode {
    fn name(&self) -> &str {
        "VectorIndex"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        std::iter::once(&self.items).chain(&self.queries).collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        self.items.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VectorIndex: {}", self.spec)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut inputs = inputs.into_iter();
        match (inputs.next(), inputs.next()) {
            (Some(items), queries) if queries.is_some() == self.queries.is_some() => {
                Ok(Self::new(items, queries, self.spec.clone()))
            }
            _ => Err(other_inputs()),
        }
    }
}

equal_by_key!(IndexNode);

fn other_inputs() -> DataFusionError {
    let message = "an index was given other inputs than it had";
    sql_err(SqlState::Internal, message)
}

/// The operator over the files with graphs, beside the scan of the others.
pub(super) fn plan(
    node: &IndexNode,
    inputs: &[Arc<dyn ExecutionPlan>],
    session: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    let (items, queries) = match inputs {
        [items] => (items, None),
        [items, queries] => (items, Some(in_one_partition(Arc::clone(queries)))),
        _ => return Err(other_inputs()),
    };
    if node.spec.unused.is_some() {
        let exec = IndexExec::try_new(Arc::clone(items), None, node.spec.clone())?;
        return Ok(Arc::new(exec));
    }
    // A table without rows is no scan of files.
    let Some(scan) = file_scan(items.as_ref()) else {
        return Ok(Arc::clone(items));
    };
    let files = scan.file_groups.iter().flat_map(|group| group.iter());
    let (indexed, others): (Vec<PartitionedFile>, Vec<PartitionedFile>) = files
        .cloned()
        .partition(|file| node.spec.graphs_of(file).is_some());
    if indexed.is_empty() {
        return Ok(Arc::clone(items));
    }
    let partitions = session.config().target_partitions().max(1);
    let indexed = scan_of(scan, indexed, partitions);
    let near = IndexExec::try_new(indexed, queries, node.spec.clone())?;
    let mut parts: Vec<Arc<dyn ExecutionPlan>> = vec![Arc::new(near)];
    if !others.is_empty() {
        parts.push(scan_of(scan, others, partitions));
    }
    UnionExec::try_new(parts)
}

/// The scan of some of its files.
fn scan_of(
    scan: &FileScanConfig,
    files: Vec<PartitionedFile>,
    partitions: usize,
) -> Arc<dyn ExecutionPlan> {
    let groups = FileGroup::new(files).split_files(partitions);
    // The statistics of the table count the rows of all files.
    let statistics = Statistics::new_unknown(scan.file_schema());
    let config = FileScanConfigBuilder::from(scan.clone())
        .with_file_groups(groups)
        .with_output_partitioning(None)
        .with_statistics(statistics)
        .build();
    DataSourceExec::from_data_source(config)
}
