//! [`PredictExec`]: physical operator that sends batches to the model workers and appends the outputs.
//!
//! The operator computes batches side by side ([`crate::model::in_flight`]), and keeps the order of rows. A dropped stream
//! starts no further batch.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, Time,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::TryStreamExt;
use tokio::sync::OnceCell;
use vatic_ml::data::inputs::RowReport;
use vatic_ml::model::{Outputs, Wanted};

use super::coalesce::BatchSize;
use super::node::{Appended, PredictOptions};
use crate::config::VaticOptions;
use crate::error::{SqlState, sql_err};
use crate::memory::batch_bytes;
use crate::model::ResolvedModel;
use crate::model::batch_memory::{BatchMemory, BatchReservation, batch_cost};
use crate::model::in_flight::{Ahead, side_by_side};
use crate::model::runtime::{LoadedModel, ModelRuntime};
use crate::plan::one_input::one_input;
use crate::plan::table_function::feature_batch;

/// What to compute, as decided at planning.
#[derive(Debug, Clone)]
pub(super) struct PredictSpec {
    pub(super) model: Arc<ResolvedModel>,
    /// The input column of each feature.
    pub(super) features: Vec<usize>,
    pub(super) appended: Appended,
    pub(super) options: PredictOptions,
    pub(super) size: BatchSize,
    pub(super) description: String,
}

#[derive(Debug)]
pub(super) struct PredictExec {
    input: Arc<dyn ExecutionPlan>,
    spec: Arc<PredictSpec>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl PredictExec {
    pub(super) fn try_new(input: Arc<dyn ExecutionPlan>, spec: PredictSpec) -> Result<Self> {
        let mut fields: Vec<_> = input.schema().fields().iter().cloned().collect();
        fields.extend(spec.appended.fields(&spec.model));
        let schema = Arc::new(Schema::new_with_metadata(
            fields,
            input.schema().metadata().clone(),
        ));
        // The input columns keep their positions, so their known orderings and equalities still hold.
        let known = input.equivalence_properties().clone();
        let equivalences = EquivalenceProperties::new(schema).extend(known)?;
        let properties = PlanProperties::new(
            equivalences,
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Ok(Self {
            input,
            spec: Arc::new(spec),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    pub(super) fn spec(&self) -> &PredictSpec {
        &self.spec
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let spec = self.spec.as_ref().clone();
        Ok(Arc::new(Self::try_new(input, spec)?))
    }
}

impl DisplayAs for PredictExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PredictExec: {}, device={}, batch={}",
            self.spec.description,
            self.spec.options.device.resolved(),
            self.spec.size
        )
    }
}

impl ExecutionPlan for PredictExec {
    fn name(&self) -> &str {
        "PredictExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    /// A RepartitionExec helps below the BatchCoalesceExec, not directly below this operator.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    one_input!();

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let runtime = context.session_config().get_extension::<ModelRuntime>();
        let runtime =
            runtime.ok_or_else(|| sql_err(SqlState::Internal, "this process cannot run models"))?;
        let memory = runtime.batch_memory("PredictExec", context.memory_pool());
        let task = Arc::new(Task {
            spec: Arc::clone(&self.spec),
            runtime,
            cache_bytes: VaticOptions::of(context.session_config().options()).cache_bytes,
            model: OnceCell::new(),
            schema: self.schema(),
            metrics: Metrics::new(&self.metrics, partition),
            memory,
        });
        let input = self.input.execute(partition, context)?;
        let permits = task.runtime.batch_permits(self.spec.options.device);
        let reserving = Arc::clone(&task);
        let reserve =
            move |batch: &Result<RecordBatch>, ahead: Ahead| reserving.reserve(batch, ahead);
        let predict = move |batch: Result<RecordBatch>, held| {
            let task = Arc::clone(&task);
            async move { task.predict(batch?, held).await }
        };
        let stream = side_by_side(input, permits, reserve, predict)
            .map_ok(|(batch, _held)| batch)
            .try_filter(|batch| std::future::ready(batch.num_rows() > 0));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            stream,
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Metrics {
    input_rows: Count,
    computed_rows: Count,
    batches: Count,
    null_rows: Count,
    failed_rows: Count,
    unseen_values: Count,
    cache_hits: Count,
    cache_misses: Count,
    load_time: Time,
    compute_time: Time,
}

impl Metrics {
    fn new(set: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let count = |name: &'static str| MetricBuilder::new(set).counter(name, partition);
        let time = |name: &'static str| MetricBuilder::new(set).subset_time(name, partition);
        Self {
            input_rows: count("input_rows"),
            computed_rows: count("computed_rows"),
            batches: count("batches"),
            null_rows: count("null_rows"),
            failed_rows: count("failed_rows"),
            unseen_values: count("unseen_values"),
            cache_hits: count("cache_hits"),
            cache_misses: count("cache_misses"),
            load_time: time("load_time"),
            compute_time: time("compute_time"),
        }
    }
}

/// The state of one partition of a query.
struct Task {
    spec: Arc<PredictSpec>,
    runtime: Arc<ModelRuntime>,
    cache_bytes: usize,
    /// Loaded with the first batch: an input without rows needs no model.
    model: OnceCell<Arc<LoadedModel>>,
    schema: SchemaRef,
    metrics: Metrics,
    memory: BatchMemory,
}

impl Task {
    /// The batch with its predictions, and its memory, which is held until the batch is returned.
    async fn predict(
        &self,
        batch: RecordBatch,
        held: Option<BatchReservation>,
    ) -> Result<(RecordBatch, Option<BatchReservation>)> {
        if batch.num_rows() == 0 {
            let empty = RecordBatch::new_empty(Arc::clone(&self.schema));
            return Ok((empty, None));
        }
        let model = Arc::clone(self.model.get_or_try_init(|| self.load()).await?);
        let held = match held {
            Some(held) => held,
            None => {
                let bytes = batch_cost(&**model, &batch, &self.spec.features);
                self.memory.reserve(bytes).await?
            }
        };
        let features = feature_batch(&self.spec.model, &self.spec.features, &batch)?;
        let wanted = self.wanted();
        let started = Instant::now();
        let device = self.spec.options.device;
        let outputs = self.runtime.infer(model, device, features, wanted).await?;
        self.metrics.compute_time.add_elapsed(started);
        self.count(&batch, &outputs.report);
        self.check(&outputs.report)?;
        let predicted = self.append(batch, outputs)?;
        held.shrink_to(batch_bytes(&predicted));
        Ok((predicted, Some(held)))
    }

    /// The memory of a batch that is computed ahead, once the model is loaded.
    fn reserve(&self, batch: &Result<RecordBatch>, ahead: Ahead) -> Option<BatchReservation> {
        let (model, batch) = (self.model.get()?, batch.as_ref().ok()?);
        let bytes = batch_cost(&***model, batch, &self.spec.features);
        self.memory.reserve_ahead(ahead, bytes)
    }

    /// The outputs of the call, with its arguments.
    fn wanted(&self) -> Wanted {
        Wanted {
            outputs: self.spec.appended.outputs.clone(),
            threshold: self.spec.options.threshold(),
            top_k: self.spec.options.top_k,
            ..Wanted::default()
        }
    }

    async fn load(&self) -> Result<Arc<LoadedModel>> {
        let started = Instant::now();
        let PredictOptions {
            device, compute, ..
        } = self.spec.options;
        let loading = self
            .runtime
            .load(&self.spec.model, device, compute, self.cache_bytes);
        let (model, is_hit) = loading.await?;
        self.metrics.load_time.add_elapsed(started);
        if is_hit {
            &self.metrics.cache_hits
        } else {
            &self.metrics.cache_misses
        }
        .add(1);
        model.for_call(&self.wanted())
    }

    fn count(&self, batch: &RecordBatch, report: &RowReport) {
        let (failed, null_rows) = (report.failures.len(), report.null_rows());
        self.metrics.batches.add(1);
        self.metrics.input_rows.add(batch.num_rows());
        self.metrics
            .computed_rows
            .add(batch.num_rows() - null_rows - failed);
        self.metrics.null_rows.add(null_rows);
        self.metrics.failed_rows.add(failed);
        self.metrics.unseen_values.add(report.unseen);
    }

    fn check(&self, report: &RowReport) -> Result<()> {
        let label = self.spec.model.label();
        if let (Some((_, cause)), false) =
            (report.failures.first(), self.spec.options.null_on_error)
        {
            let message = format!(
                "model \"{label}\" cannot predict a row: {cause}; on_error => 'null' predicts NULL for such rows"
            );
            return Err(sql_err(SqlState::InvalidParameter, message));
        }
        if let (Some(column), true) = (&report.null_column, self.spec.options.error_on_null) {
            let message = format!("column \"{column}\" is NULL in a row for model \"{label}\"");
            return Err(sql_err(SqlState::Null, message));
        }
        Ok(())
    }

    fn append(&self, batch: RecordBatch, outputs: Outputs) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut columns = batch.columns().to_vec();
        columns.extend(outputs.columns);
        if self.spec.appended.has_error {
            columns.push(Arc::new(causes(rows, &outputs.report.failures)));
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

fn causes(rows: usize, failures: &[(usize, String)]) -> StringArray {
    let mut causes: Vec<Option<&str>> = vec![None; rows];
    failures
        .iter()
        .for_each(|(row, cause)| causes[*row] = Some(cause));
    StringArray::from(causes)
}
