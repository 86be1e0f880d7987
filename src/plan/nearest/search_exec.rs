//! [`SearchExec`]: the operator that finds the nearest items of a partition for each query.
//!
//! Blocks of [`QUERIES`] times [`ITEMS`] products stay in the cache of a core. The operator holds the queries, and for each query
//! `top_k` items without their vectors; it never holds a matrix of all pairs.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, UInt32Array, UInt64Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use vatic_ml::nn::inner_products;

use super::best::{Best, Columns, Found};
use super::block::{Block, Bound};
use super::queries::{Queries, SharedQueries};
use super::spec::{DISTANCE, Spec, fields_beside, queries_of_batch};
use crate::error::{SqlState, sql_err};
use crate::plan::display::write_operator;

/// The queries of a block of products.
const QUERIES: usize = 256;
/// The items of a block of products.
const ITEMS: usize = 512;

#[derive(Debug)]
pub(super) struct SearchExec {
    queries: Arc<dyn ExecutionPlan>,
    items: Arc<dyn ExecutionPlan>,
    spec: Spec,
    shared: Arc<SharedQueries>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl SearchExec {
    pub(super) fn try_new(
        queries: Arc<dyn ExecutionPlan>,
        items: Arc<dyn ExecutionPlan>,
        spec: Spec,
    ) -> Result<Self> {
        let has_vectors = spec.query_vector < queries.schema().fields().len()
            && spec.item_vector < items.schema().fields().len();
        if !has_vectors {
            let message = "the inputs of nearest do not have the columns of its vectors";
            return Err(sql_err(SqlState::Internal, message));
        }
        let mut fields = fields_beside(&queries.schema(), spec.query_vector);
        fields.extend(fields_beside(&items.schema(), spec.item_vector));
        fields.push(Arc::new(Field::new(DISTANCE, DataType::Float64, false)));
        fields.push(Arc::new(Field::new("query", DataType::UInt64, false)));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(Schema::new(fields))),
            Partitioning::UnknownPartitioning(items.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self {
            queries,
            items,
            spec,
            shared: Arc::default(),
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::new(properties),
        })
    }

    pub(super) fn spec(&self) -> Spec {
        self.spec
    }
}

/// The columns of a batch but that of the vectors.
fn columns_beside(batch: &RecordBatch, vector: usize) -> Vec<ArrayRef> {
    let columns = batch.columns().iter().enumerate();
    let others = columns.filter(|(at, _)| *at != vector);
    others.map(|(_, column)| Arc::clone(column)).collect()
}

impl DisplayAs for SearchExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_operator(f, format, "NearestExec", format_args!("{}", self.spec))
    }
}

impl ExecutionPlan for SearchExec {
    fn name(&self) -> &str {
        "NearestExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// Each partition of the items meets all queries.
    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![
            Distribution::SinglePartition,
            Distribution::UnspecifiedDistribution,
        ]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false, true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.queries, &self.items]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([queries, items]) = <[_; 2]>::try_from(children) else {
            let message = "an operator with two inputs was given others";
            return Err(sql_err(SqlState::Internal, message));
        };
        Ok(Arc::new(Self::try_new(queries, items, self.spec)?))
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
        let items = self.items.execute(partition, Arc::clone(&context))?;
        let fields = fields_beside(&self.items.schema(), self.spec.item_vector);
        let name = format!("NearestExec[{partition}]");
        let search = Search {
            spec: self.spec,
            columns: Columns::try_new(fields)?,
            memory: MemoryConsumer::new(name).register(context.memory_pool()),
            measured: MetricBuilder::new(&self.metrics).counter("measured_pairs", partition),
            schema: self.schema(),
        };
        let queries = self.shared.get(&self.queries, self.spec, context);
        let work = async move {
            let queries = queries.await.map_err(DataFusionError::Shared)?;
            search.run(queries, items).await
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

/// The search of one partition.
struct Search {
    spec: Spec,
    /// The columns of the items but their vectors.
    columns: Columns,
    memory: MemoryReservation,
    /// The pairs whose distance was computed.
    measured: Count,
    schema: SchemaRef,
}

impl Search {
    /// The nearest items for each query, as a stream of batches.
    async fn run(
        self,
        queries: Arc<Queries>,
        mut items: SendableRecordBatchStream,
    ) -> Result<futures::stream::BoxStream<'static, Result<RecordBatch>>> {
        let mut best: Vec<Best> = Vec::new();
        best.resize_with(queries.block.count(), Best::default);
        let mut products = vec![0.0; QUERIES * ITEMS];
        while let Some(batch) = items.next().await.transpose()? {
            if best.is_empty() || batch.num_rows() == 0 {
                continue;
            }
            self.add(&queries.block, &batch, &mut best, &mut products)
                .await?;
        }
        let of_batch = queries_of_batch(self.spec.top_k);
        let first = (0..best.len()).step_by(of_batch);
        let mut best = best.into_iter();
        let batches = first.map(move |first| {
            let found = best.by_ref().take(of_batch).map(Best::into_sorted);
            self.batch(&queries, first, found.collect())
        });
        Ok(futures::stream::iter(batches).boxed())
    }

    /// Adds the items of a batch; lets other tasks run after each block of queries.
    async fn add(
        &self,
        queries: &Block,
        batch: &RecordBatch,
        best: &mut [Best],
        products: &mut [f32],
    ) -> Result<()> {
        let vectors = batch.column(self.spec.item_vector);
        let items = Block::try_new(vectors, self.spec.metric, Some(queries.width))?;
        let beside = columns_beside(batch, self.spec.item_vector);
        let rows = self.columns.to_rows(&beside)?;
        let held: usize = best.iter().map(Best::bytes).sum();
        let working = items.bytes() + rows.size();
        self.memory
            .try_resize(held + working + size_of_val(&*products))?;
        let bound = Bound::new(self.spec.metric, queries.width);
        for query in (0..queries.count()).step_by(QUERIES) {
            let query_end = queries.count().min(query + QUERIES);
            for item in (0..items.count()).step_by(ITEMS) {
                let item_end = items.count().min(item + ITEMS);
                let count = item_end - item;
                let products = &mut products[..(query_end - query) * count];
                let left = queries.factors(query, query_end);
                let right = items.factors(item, item_end);
                inner_products(left, right, queries.width, products);
                for (at, products) in products.chunks_exact(count).enumerate() {
                    let offer = |best: &mut Best, item: usize, distance| {
                        let row = rows.row(items.rows[item]);
                        best.offer(self.spec.top_k, distance, row.as_ref());
                    };
                    let pair = (query + at, item);
                    self.measure(
                        bound,
                        (queries, &items),
                        pair,
                        products,
                        &mut best[query + at],
                        offer,
                    );
                }
            }
            tokio::task::yield_now().await;
        }
        let held: usize = best.iter().map(Best::bytes).sum();
        self.memory.try_resize(held + size_of_val(&*products))?;
        Ok(())
    }

    /// Offers the items that may be among the nearest of a query. `products` has those of the query and the items from `first` on.
    fn measure(
        &self,
        bound: Bound,
        (queries, items): (&Block, &Block),
        (query, first): (usize, usize),
        products: &[f32],
        best: &mut Best,
        offer: impl Fn(&mut Best, usize, f64),
    ) {
        let of_query = queries.length(query);
        let mut limit = bound.limit(best.limit(self.spec.top_k));
        let mut measured = 0;
        for (item, product) in (first..).zip(products) {
            if !bound.lets_through(*product, of_query, items.length(item), limit) {
                continue;
            }
            measured += 1;
            let (left, right) = (queries.vector(query), items.vector(item));
            if let Some(distance) = self.spec.metric.distance(left, right) {
                offer(best, item, distance);
                limit = bound.limit(best.limit(self.spec.top_k));
            }
        }
        self.measured.add(measured);
    }

    /// The results of some queries, of which `first` is the first.
    fn batch(
        &self,
        queries: &Queries,
        first: usize,
        found: Vec<Vec<Found>>,
    ) -> Result<RecordBatch> {
        let of_queries = (first..).zip(&found);
        let numbers: Vec<usize> = of_queries
            .flat_map(|(query, found)| std::iter::repeat_n(queries.block.rows[query], found.len()))
            .collect();
        let found: Vec<Found> = found.into_iter().flatten().collect();
        let places = UInt32Array::from_iter_values(numbers.iter().map(|number| *number as u32));
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for column in columns_beside(&queries.batch, self.spec.query_vector) {
            columns.push(take(&column, &places, None)?);
        }
        let rows = found.iter().map(|found| &*found.row);
        columns.extend(self.columns.to_columns(rows)?);
        let distances = found.iter().map(|found| found.distance);
        columns.push(Arc::new(Float64Array::from_iter_values(distances)));
        let numbers = numbers.iter().map(|number| *number as u64);
        columns.push(Arc::new(UInt64Array::from_iter_values(numbers)));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
