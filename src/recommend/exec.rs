//! [`RecommendExec`]: physical operator that finds the best items of each user.
//!
//! Partitions of users are independent of each other. All of them in a process share the candidates, which the first one begins to
//! collect. Batches of users are computed side by side ([`crate::model::in_flight`]), in the order of the users.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, Time,
};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PhysicalExpr, PlanProperties,
};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use vatic_ml::device::DeviceName;
use vatic_ml::model::recommender::Side;

use super::candidates::{Candidates, recommender};
use super::node::{added_fields, candidate_fields, users_and_items};
use super::picks::picks_of;
use super::spec::RecommendSpec;
use crate::config::VaticOptions;
use crate::error::{SqlState, sql_err};
use crate::memory::batch_bytes;
use crate::model::batch_memory::{BatchMemory, BatchReservation};
use crate::model::in_flight::{Ahead, rows_side_by_side};
use crate::model::runtime::ModelRuntime;
use crate::plan::display::write_operator;
use crate::plan::features::input_batch;

/// Memory of a row of the result besides the columns of its user, in bytes: positions, rank, score, and the item.
const ROW_BYTES: usize = 64;

type Collecting = Shared<BoxFuture<'static, Result<Arc<Candidates>, Arc<DataFusionError>>>>;

pub(super) struct RecommendExec {
    users: Arc<dyn ExecutionPlan>,
    items: Option<Arc<dyn ExecutionPlan>>,
    spec: Arc<RecommendSpec>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    /// The candidates of all partitions; `None` until the first partition runs.
    candidates: Mutex<Option<Collecting>>,
}

impl RecommendExec {
    pub(super) fn try_new(
        users: Arc<dyn ExecutionPlan>,
        items: Option<Arc<dyn ExecutionPlan>>,
        spec: RecommendSpec,
    ) -> Result<Self> {
        let schema = users.schema();
        let shown = schema.fields().iter().take(spec.shown(schema.fields()));
        let candidates = items.as_ref().map(|items| items.schema());
        let candidates = candidate_fields(&spec.model, candidates.as_deref())?;
        let fields: Vec<_> = shown.cloned().chain(added_fields(candidates)).collect();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(Schema::new(fields))),
            Partitioning::UnknownPartitioning(users.output_partitioning().partition_count()),
            users.pipeline_behavior(),
            users.boundedness(),
        );
        Ok(Self {
            users,
            items,
            spec: Arc::new(spec),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
            candidates: Mutex::default(),
        })
    }

    pub(super) fn spec(&self) -> &RecommendSpec {
        &self.spec
    }

    /// The candidates, which the first call begins to collect.
    fn collecting(
        &self,
        runtime: &Arc<ModelRuntime>,
        context: &Arc<TaskContext>,
    ) -> Result<Collecting> {
        let candidates = self.candidates.lock();
        let mut candidates = candidates.unwrap_or_else(PoisonError::into_inner);
        if let Some(collecting) = &*candidates {
            return Ok(collecting.clone());
        }
        let items = self.items.as_ref();
        let items = items.map(|items| items.execute(0, Arc::clone(context)));
        let collect = Candidates::collect(
            Arc::clone(&self.spec),
            Arc::clone(runtime),
            items.transpose()?,
            MemoryConsumer::new("RecommendExec").register(context.memory_pool()),
            VaticOptions::of(context.session_config().options()).cache_bytes,
        );
        let collect = async move { collect.await.map(Arc::new).map_err(Arc::new) };
        let collecting = collect.boxed().shared();
        *candidates = Some(collecting.clone());
        Ok(collecting)
    }
}

impl fmt::Debug for RecommendExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecommendExec")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl DisplayAs for RecommendExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_operator(
            f,
            format,
            "RecommendExec",
            format_args!("{}", self.spec.description),
        )
    }
}

impl ExecutionPlan for RecommendExec {
    fn name(&self) -> &str {
        "RecommendExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// Each partition of users needs all items.
    fn required_input_distribution(&self) -> Vec<Distribution> {
        let items = self.items.iter().map(|_| Distribution::SinglePartition);
        std::iter::once(Distribution::UnspecifiedDistribution)
            .chain(items)
            .collect()
    }

    /// A RepartitionExec helps below the BatchCoalesceExec, not directly below this operator.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.children().len()]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        std::iter::once(&self.users).chain(&self.items).collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (users, items) = users_and_items(children)?;
        if items.is_some() != self.items.is_some() {
            let message = "recommend was given items, or lost them";
            return Err(sql_err(SqlState::Internal, message));
        }
        let spec = self.spec.as_ref().clone();
        Ok(Arc::new(Self::try_new(users, items, spec)?))
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
        let runtime = ModelRuntime::of(&context)?;
        let memory = runtime.batch_memory("RecommendExec", context.memory_pool());
        let task = Arc::new(Task {
            spec: Arc::clone(&self.spec),
            collecting: self.collecting(&runtime, &context)?,
            schema: self.schema(),
            metrics: Metrics::new(&self.metrics, partition),
            runtime,
            memory,
        });
        let users = self.users.execute(partition, context)?;
        let permits = task.runtime.batch_permits(DeviceName::Cpu);
        let reserving = Arc::clone(&task);
        let reserve =
            move |batch: &Result<RecordBatch>, ahead: Ahead| reserving.reserve(batch, ahead);
        let recommend = move |batch: Result<RecordBatch>, held| {
            let task = Arc::clone(&task);
            async move { task.recommend(batch?, held).await }
        };
        let schema = self.schema();
        Ok(rows_side_by_side(
            schema, users, permits, reserve, recommend,
        ))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

#[derive(Debug)]
struct Metrics {
    input_rows: Count,
    batches: Count,
    unknown_users: Count,
    compute_time: Time,
}

impl Metrics {
    fn new(set: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let count = |name: &'static str| MetricBuilder::new(set).counter(name, partition);
        Self {
            input_rows: count("input_rows"),
            batches: count("batches"),
            unknown_users: count("unknown_users"),
            compute_time: MetricBuilder::new(set).subset_time("compute_time", partition),
        }
    }
}

/// The state of one partition of a query.
struct Task {
    spec: Arc<RecommendSpec>,
    runtime: Arc<ModelRuntime>,
    collecting: Collecting,
    schema: SchemaRef,
    metrics: Metrics,
    memory: BatchMemory,
}

impl Task {
    /// The recommendations for a batch of users, and their memory, which is held until they are returned.
    async fn recommend(
        &self,
        batch: RecordBatch,
        held: Option<BatchReservation>,
    ) -> Result<(RecordBatch, Option<BatchReservation>)> {
        if batch.num_rows() == 0 {
            let empty = RecordBatch::new_empty(Arc::clone(&self.schema));
            return Ok((empty, None));
        }
        let candidates = self.collecting.clone().await;
        let candidates = candidates.map_err(DataFusionError::Shared)?;
        let held = match held {
            Some(held) => held,
            None => self.memory.reserve(self.bytes(&batch)).await?,
        };
        let inputs = &self.spec.sides()?.users;
        let features = input_batch(&self.spec.model, inputs, &self.spec.user_columns, &batch)?;
        let (spec, schema, users) = (Arc::clone(&self.spec), Arc::clone(&self.schema), batch);
        let rows = users.num_rows();
        let started = Instant::now();
        let work = move || {
            let vectors = recommender(&candidates.model)?.vectors(Side::User, &features)?;
            let shown = spec.shown(users.schema().fields());
            let (columns, lists) = users.columns().split_at(shown);
            let picked = spec.check(&vectors, "a user").and_then(|()| {
                picks_of(
                    columns,
                    lists.first(),
                    &vectors,
                    &candidates,
                    spec.top_k,
                    &schema,
                )
            });
            Ok(picked)
        };
        let picked = self.runtime.run_batch(DeviceName::Cpu, &self.memory, work);
        let picked = picked.await??;
        self.metrics.compute_time.add_elapsed(started);
        self.metrics.batches.add(1);
        self.metrics.input_rows.add(rows);
        self.metrics.unknown_users.add(picked.unknown);
        held.shrink_to(batch_bytes(&picked.rows));
        Ok((picked.rows, Some(held)))
    }

    /// The memory of a batch of users and of its recommendations.
    fn bytes(&self, batch: &RecordBatch) -> usize {
        let bytes = batch_bytes(batch);
        let rows = batch.num_rows();
        let of_user = bytes / rows.max(1) + ROW_BYTES;
        bytes + rows * self.spec.top_k * of_user
    }

    /// The memory of a batch that is computed ahead, once the candidates are there.
    fn reserve(&self, batch: &Result<RecordBatch>, ahead: Ahead) -> Option<BatchReservation> {
        let batch = batch.as_ref().ok()?;
        let is_collected = self.collecting.peek().is_some();
        let bytes = is_collected.then(|| self.bytes(batch))?;
        self.memory.reserve_ahead(ahead, bytes)
    }
}
