//! [`IndexExec`]: the operator that reads only the rows of its scan that graphs find near the queries.
//!
//! Its input is a scan of files that have graphs. The operator does not run that scan, but one of each file that leaves out all other
//! rows. If graphs cannot be read, the scan has all rows of the file, so the plan above finds the nearest of them. A partition of the
//! operator has the files of the same partition of the scan, which is what a task on an executor gets.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, RatioMetrics,
};
use datafusion::physical_plan::stream::{EmptyRecordBatchStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use super::super::queries::{Queries, SharedQueries};
use super::file::GraphFile;
use super::search::{Found, near_rows};
use super::spec::{GraphPlace, IndexSpec};
use crate::error::{SqlState, sql_err};
use crate::plan::display::write_operator;
use crate::plan::scans::file_scan;
use crate::storage::Place;

/// The metric of files whose graphs could not be read.
const UNREAD_GRAPHS: &str = "unread_graphs";

#[derive(Debug)]
pub(super) struct IndexExec {
    scan: Arc<dyn ExecutionPlan>,
    /// One column of vectors in one partition; `None` if the query is a constant.
    queries: Option<Arc<dyn ExecutionPlan>>,
    spec: Arc<IndexSpec>,
    shared: Arc<SharedQueries>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl IndexExec {
    pub(super) fn try_new(
        scan: Arc<dyn ExecutionPlan>,
        queries: Option<Arc<dyn ExecutionPlan>>,
        spec: IndexSpec,
    ) -> Result<Self> {
        let is_known = spec.query.is_some() || queries.is_some();
        if spec.unused.is_none() && !is_known {
            let message = "a search with an index has no query";
            return Err(sql_err(SqlState::Internal, message));
        }
        let properties = match spec.unused {
            Some(_) => Arc::clone(scan.properties()),
            None => Arc::new(PlanProperties::new(
                EquivalenceProperties::new(scan.schema()),
                Partitioning::UnknownPartitioning(scan.output_partitioning().partition_count()),
                EmissionType::Incremental,
                Boundedness::Bounded,
            )),
        };
        Ok(Self {
            scan,
            queries,
            spec: Arc::new(spec),
            shared: Arc::default(),
            metrics: ExecutionPlanMetricsSet::new(),
            properties,
        })
    }

    pub(super) fn spec(&self) -> &IndexSpec {
        &self.spec
    }
}

/// Whether a plan has an operator that uses an index.
pub(crate) fn uses_index(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let exec = plan.downcast_ref::<IndexExec>();
    exec.is_some_and(|exec| exec.spec.unused.is_none())
        || plan.children().into_iter().any(uses_index)
}

/// The name of the index and the number of files whose graphs the operator could not read, if there are any.
pub(crate) fn unread_graphs(
    exec: &Arc<dyn ExecutionPlan>,
    metrics: &MetricsSet,
) -> Option<(String, usize)> {
    let exec = exec.downcast_ref::<IndexExec>()?;
    let files = metrics.sum_by_name(UNREAD_GRAPHS)?.as_usize();
    (files > 0).then(|| (exec.spec.index.clone(), files))
}

impl DisplayAs for IndexExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_operator(f, format, "VectorIndexExec", format_args!("{}", self.spec))
    }
}

impl ExecutionPlan for IndexExec {
    fn name(&self) -> &str {
        "VectorIndexExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// Each partition of the scan meets all queries.
    fn required_input_distribution(&self) -> Vec<Distribution> {
        let of_queries = self.queries.iter().map(|_| Distribution::SinglePartition);
        std::iter::once(Distribution::UnspecifiedDistribution)
            .chain(of_queries)
            .collect()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.spec.unused.is_some(); self.children().len()]
    }

    /// The scan of files with graphs stays whole: other partitions would cut its files.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![self.spec.unused.is_some(); self.children().len()]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        std::iter::once(&self.scan).chain(&self.queries).collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut children = children.into_iter();
        let scan = children.next().ok_or_else(|| {
            let message = "a search with an index was given no scan";
            sql_err(SqlState::Internal, message)
        })?;
        let exec = Self::try_new(scan, children.next(), self.spec.as_ref().clone())?;
        Ok(Arc::new(exec))
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if self.spec.unused.is_some() {
            return self.scan.execute(partition, context);
        }
        let scan = file_scan(self.scan.as_ref()).ok_or_else(|| {
            let message = "a search with an index is not above a scan of files";
            sql_err(SqlState::Internal, message)
        })?;
        let files = scan.file_groups.get(partition).into_iter();
        let files = files.flat_map(|group| group.iter()).cloned();
        // A file that was cut is searched by the partition that has its begin.
        let begins =
            |file: &PartitionedFile| file.range.as_ref().is_none_or(|range| range.start == 0);
        let files: Vec<PartitionedFile> = files.filter(begins).collect();
        let name = format!("VectorIndexExec[{partition}]");
        let search = Arc::new(Search {
            spec: Arc::clone(&self.spec),
            scan: scan.clone(),
            memory: MemoryConsumer::new(name).register(context.memory_pool()),
            metrics: Metrics::new(&self.metrics, partition, self.spec.measures_recall),
            context: Arc::clone(&context),
        });
        let collecting = self.queries.as_ref().map(|input| {
            let spec = self.spec.of_queries();
            self.shared.get(input, spec, context)
        });
        let bits = self.spec.query.clone().unwrap_or_default();
        let work = async move {
            let wanted = match collecting {
                Some(queries) => Wanted::Many(queries.await.map_err(DataFusionError::Shared)?),
                None => Wanted::One(bits.into_iter().map(f32::from_bits).collect()),
            };
            let wanted = Arc::new(wanted);
            let streams = futures::stream::iter(files).then(move |file| {
                let (search, wanted) = (Arc::clone(&search), Arc::clone(&wanted));
                async move { search.rows_of(file, wanted).await }
            });
            Ok::<_, DataFusionError>(streams.try_flatten())
        };
        let stream = futures::stream::once(work).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            stream,
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// What EXPLAIN ANALYZE shows of a partition.
#[derive(Debug)]
struct Metrics {
    measured_vectors: Count,
    /// The rows that are read.
    near_rows: Count,
    unread_graphs: Count,
    /// Of the nearest vectors of the sampled queries in each file, those that were found; only for EXPLAIN ANALYZE.
    recall: Option<RatioMetrics>,
}

impl Metrics {
    fn new(set: &ExecutionPlanMetricsSet, partition: usize, measures_recall: bool) -> Self {
        let count = |name: &'static str| MetricBuilder::new(set).counter(name, partition);
        let ratio = || MetricBuilder::new(set).ratio_metrics("recall", partition);
        Self {
            measured_vectors: count("measured_vectors"),
            near_rows: count("near_rows"),
            unread_graphs: count(UNREAD_GRAPHS),
            recall: measures_recall.then(ratio),
        }
    }

    fn add(&self, found: &Found) {
        self.measured_vectors.add(found.measured);
        let rows = found.rows.iter().filter(|read| **read);
        self.near_rows.add(rows.count());
        if let Some(recall) = &self.recall {
            recall.add_part(found.recalled);
            recall.add_total(found.expected);
        }
    }
}

/// The queries of a search.
enum Wanted {
    One(Vec<f32>),
    Many(Arc<Queries>),
}

impl Wanted {
    fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(queries) => queries.block.count(),
        }
    }

    fn vector(&self, at: usize) -> &[f32] {
        match self {
            Self::One(vector) => vector,
            Self::Many(queries) => queries.block.vector(at),
        }
    }
}

/// The search of one partition.
struct Search {
    spec: Arc<IndexSpec>,
    scan: FileScanConfig,
    memory: MemoryReservation,
    metrics: Metrics,
    context: Arc<TaskContext>,
}

impl Search {
    /// The rows of a file near the queries; all rows if its graphs cannot tell.
    async fn rows_of(
        &self,
        mut file: PartitionedFile,
        wanted: Arc<Wanted>,
    ) -> Result<SendableRecordBatchStream> {
        let found = match self.spec.graphs_of(&file) {
            Some(graphs) => self.found(graphs.clone(), wanted).await?,
            None => None,
        };
        file.range = None;
        if let Some(found) = found {
            self.metrics.add(&found);
            if !found.rows.contains(&true) {
                let schema = self.scan.projected_schema()?;
                return Ok(Box::pin(EmptyRecordBatchStream::new(schema)));
            }
            file = file.with_extension(ParquetRowSelection::new(selection(&found.rows)));
        }
        let scan = FileScanConfigBuilder::from(self.scan.clone())
            .with_file_groups(vec![FileGroup::new(vec![file])])
            .with_output_partitioning(None)
            .build();
        DataSourceExec::from_data_source(scan).execute(0, Arc::clone(&self.context))
    }

    /// Searches the graphs of a file on a thread that may wait for the disk.
    async fn found(&self, graphs: GraphPlace, wanted: Arc<Wanted>) -> Result<Option<Found>> {
        let place = Place::parse(Path::new(&graphs.at))?;
        let of_store = match &place {
            Place::Local(_) => 0,
            Place::Remote(_) => graphs.bytes,
        };
        let bytes = usize::try_from(graphs.rows.saturating_add(of_store)).unwrap_or(usize::MAX);
        self.memory.try_resize(bytes)?;
        let stop = CancellationToken::new();
        let _stops = stop.clone().drop_guard();
        let spec = Arc::clone(&self.spec);
        let job = move || searched(&place, &graphs, &spec, &wanted, &stop);
        let found = SpawnedTask::spawn_blocking(job).join().await;
        let found = found.map_err(|error| {
            let message = format!("a search with an index ended: {error}");
            sql_err(SqlState::Internal, message)
        })?;
        self.memory.free();
        found.or_else(|error| {
            let index = &self.spec.index;
            tracing::warn!(%index, %error, "graphs cannot be read, so all rows of their file are");
            self.metrics.unread_graphs.add(1);
            Ok(None)
        })
    }
}

fn searched(
    place: &Place,
    graphs: &GraphPlace,
    spec: &IndexSpec,
    wanted: &Wanted,
    stop: &CancellationToken,
) -> io::Result<Option<Found>> {
    let file = GraphFile::open(place, graphs.bytes, graphs.hash)?;
    let (found, expected) = (file.contents.rows, graphs.rows);
    if found != expected || file.contents.metric != spec.metric {
        let message = format!("the graphs are of {found} rows, not of {expected}");
        return Err(io::Error::other(message));
    }
    let queries = (0..wanted.count()).map(|at| wanted.vector(at));
    near_rows(&file, spec, queries, stop)
}

/// The rows that are true, as a scan of Parquet takes them.
fn selection(rows: &[bool]) -> RowSelection {
    let runs = rows.chunk_by(|left, right| left == right);
    let selectors: Vec<RowSelector> = runs
        .map(|run| match run[0] {
            true => RowSelector::select(run.len()),
            false => RowSelector::skip(run.len()),
        })
        .collect();
    selectors.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_runs() {
        let rows = [false, false, true, true, false, true];
        let expected = RowSelection::from(vec![
            RowSelector::skip(2),
            RowSelector::select(2),
            RowSelector::skip(1),
            RowSelector::select(1),
        ]);
        assert_eq!(selection(&rows), expected);
        assert_eq!(selection(&[]), RowSelection::from(vec![]));
    }
}
