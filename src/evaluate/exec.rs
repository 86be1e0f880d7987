//! [`EvaluateExec`]: physical operator that scores the rows of a partition, or merges the sums of all partitions.
//!
//! ```text
//! Score   a partition of rows  → its sums as bytes, in pieces that fit into messages between machines
//! Merge   sums of partitions   → one batch of results
//! ```
//! Sums are exact and merge in any order, so the result does not depend on partitions or machines.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, BinaryArray, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use vatic_ml::data::signature::Label;
use vatic_ml::device::DeviceName;
use vatic_ml::model::metrics::Assessments;
use vatic_ml::model::{Outputs, Wanted};

use super::node::{Report, labels, report_fields};
use super::report::report;
use crate::config::VaticOptions;
use crate::error::ml_err;
use crate::memory::batch_bytes;
use crate::model::ResolvedModel;
use crate::model::batch_memory::{BatchMemory, BatchReservation, batch_cost};
use crate::model::in_flight::{Ahead, side_by_side};
use crate::model::runtime::{LoadedModel, ModelRuntime};
use crate::plan::display::write_operator;
use crate::plan::features::feature_batch;
use crate::plan::one_input::one_input;

/// The device of every evaluation, if the model can use it: `evaluate` has no option for the device.
pub(super) const DEVICE: DeviceName = DeviceName::Auto;
/// The maximum bytes of a row of sums and rows of a batch: messages between machines have a size limit.
const PIECE_BYTES: usize = 1 << 20;
const PIECES: usize = 4;

/// The step that an operator performs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// Computes the sums of each partition from the outputs of the model.
    Score,
    /// Merges the sums of all partitions.
    Merge,
}

#[derive(Debug, Clone)]
pub(super) struct EvaluateSpec {
    pub(super) model: Arc<ResolvedModel>,
    pub(super) report: Report,
    pub(super) features: Vec<usize>,
    pub(super) labels: Vec<Option<usize>>,
    pub(super) step: Step,
    pub(super) description: String,
}

#[derive(Debug)]
pub(super) struct EvaluateExec {
    input: Arc<dyn ExecutionPlan>,
    spec: Arc<EvaluateSpec>,
    properties: Arc<PlanProperties>,
}

impl EvaluateExec {
    pub(super) fn try_new(input: Arc<dyn ExecutionPlan>, spec: EvaluateSpec) -> Result<Self> {
        let (fields, partitions) = match spec.step {
            Step::Score => {
                let of = Field::new("of", DataType::Utf8, false);
                let sums = Field::new("sums", DataType::Binary, false);
                (
                    vec![of, sums],
                    input.output_partitioning().partition_count(),
                )
            }
            Step::Merge => (report_fields(&spec.model, spec.report)?, 1),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(Schema::new(fields))),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self {
            input,
            spec: Arc::new(spec),
            properties: Arc::new(properties),
        })
    }

    pub(super) fn spec(&self) -> &EvaluateSpec {
        &self.spec
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let spec = self.spec.as_ref().clone();
        Ok(Arc::new(Self::try_new(input, spec)?))
    }
}

impl DisplayAs for EvaluateExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.spec.step {
            Step::Score => {
                let device = self.spec.model.device(DEVICE).resolved();
                write_operator(
                    f,
                    format,
                    "EvaluateExec",
                    format_args!("score, device={device}"),
                )
            }
            Step::Merge => write_operator(
                f,
                format,
                "EvaluateExec",
                format_args!("merge, {}", self.spec.description),
            ),
        }
    }
}

impl ExecutionPlan for EvaluateExec {
    fn name(&self) -> &str {
        "EvaluateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![match self.spec.step {
            Step::Score => Distribution::UnspecifiedDistribution,
            Step::Merge => Distribution::SinglePartition,
        }]
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
        let runtime = ModelRuntime::of(&context)?;
        let cache_bytes = VaticOptions::of(context.session_config().options()).cache_bytes;
        let memory = runtime.batch_memory("EvaluateExec", context.memory_pool());
        let input = self.input.execute(partition, context)?;
        let (spec, schema) = (Arc::clone(&self.spec), self.schema());
        let task = Arc::new(Task {
            spec,
            runtime,
            cache_bytes,
            model: OnceCell::new(),
            memory,
            schema: Arc::clone(&schema),
        });
        let work = async move {
            let batches = match task.spec.step {
                Step::Score => task.score(input).await?,
                Step::Merge => vec![task.merge(input).await?],
            };
            Ok::<_, DataFusionError>(futures::stream::iter(batches.into_iter().map(Ok)))
        };
        let stream = futures::stream::once(work).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// The state of one partition of a query.
struct Task {
    spec: Arc<EvaluateSpec>,
    runtime: Arc<ModelRuntime>,
    cache_bytes: usize,
    /// Loaded with the first batch.
    model: OnceCell<Arc<LoadedModel>>,
    memory: BatchMemory,
    schema: SchemaRef,
}

impl Task {
    /// The sums of a partition, in pieces.
    async fn score(self: &Arc<Self>, input: SendableRecordBatchStream) -> Result<Vec<RecordBatch>> {
        let labels = labels(&self.spec.model)?;
        let mut sums = Assessments::new(labels.iter().map(Label::form));
        let is_empty =
            |batch: &Result<RecordBatch>| batch.as_ref().is_ok_and(|batch| batch.num_rows() == 0);
        let input = input.filter(move |batch| std::future::ready(!is_empty(batch)));
        let permits = self.runtime.batch_permits(self.device());
        let reserving = Arc::clone(self);
        let reserve =
            move |batch: &Result<RecordBatch>, ahead: Ahead| reserving.reserve(batch, ahead);
        let task = Arc::clone(self);
        let infer = move |batch: Result<RecordBatch>, held| {
            let task = Arc::clone(&task);
            async move { task.infer(batch?, held).await }
        };
        let mut answers = side_by_side(input, permits, reserve, infer);
        let kept = self.memory.none();
        while let Some(answer) = answers.next().await {
            let (batch, outputs, _held) = answer?;
            let columns = self.spec.labels.iter();
            let columns = columns.map(|column| column.map(|column| batch.column(column)));
            let labels: Vec<_> = labels.iter().copied().zip(columns).collect();
            sums.add(&labels, &outputs).map_err(ml_err)?;
            kept.try_resize(sums.bytes())?;
        }
        // The sums as bytes, and the pieces of these.
        kept.try_grow(2 * sums.bytes())?;
        self.pieces(&sums.to_bytes())
    }

    /// The outputs for a batch, with its memory, which is held until they are counted.
    async fn infer(
        &self,
        batch: RecordBatch,
        held: Option<BatchReservation>,
    ) -> Result<(RecordBatch, Outputs, BatchReservation)> {
        let spec = &self.spec;
        let features = feature_batch(&spec.model, &spec.features, &batch)?;
        let model = Arc::clone(self.model.get_or_try_init(|| self.load()).await?);
        let held = match held {
            Some(held) => held,
            None => {
                let bytes = batch_cost(&**model, &batch, &self.spec.features);
                self.memory.reserve(bytes).await?
            }
        };
        let wanted = Wanted {
            scores: true,
            imputes: self.spec.model.manifest.imputes(),
            ..Wanted::default()
        };
        let outputs = self
            .runtime
            .infer(&self.memory, model, self.device(), features, wanted)
            .await?;
        Ok((batch, outputs, held))
    }

    fn device(&self) -> DeviceName {
        self.spec.model.device(DEVICE)
    }

    async fn load(&self) -> Result<Arc<LoadedModel>> {
        let loading = self
            .runtime
            .load(&self.spec.model, self.device(), None, self.cache_bytes);
        let (model, _) = loading.await?;
        Ok(model)
    }

    /// The memory of a batch that is computed ahead, once the model is loaded.
    fn reserve(&self, batch: &Result<RecordBatch>, ahead: Ahead) -> Option<BatchReservation> {
        let (model, batch) = (self.model.get()?, batch.as_ref().ok()?);
        let bytes = batch_cost(&***model, batch, &self.spec.features);
        self.memory.reserve_ahead(ahead, bytes)
    }

    fn pieces(&self, bytes: &[u8]) -> Result<Vec<RecordBatch>> {
        // A random id, because partitions have no number that is unique across machines.
        let of = uuid::Uuid::new_v4().to_string();
        let pieces: Vec<&[u8]> = bytes.chunks(PIECE_BYTES).collect();
        let batch = |pieces: &[&[u8]]| {
            let of = StringArray::from(vec![of.as_str(); pieces.len()]);
            let sums = BinaryArray::from(pieces.to_vec());
            let columns = vec![Arc::new(of) as _, Arc::new(sums) as _];
            Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
        };
        pieces.chunks(PIECES).map(batch).collect()
    }

    /// Merges the sums of all partitions into the report.
    async fn merge(&self, mut input: SendableRecordBatchStream) -> Result<RecordBatch> {
        // The pieces of a partition arrive in order, interleaved with the pieces of other partitions.
        let mut parts: HashMap<String, Vec<u8>> = HashMap::new();
        let held = self.memory.none();
        while let Some(batch) = input.next().await {
            let batch = batch?;
            held.try_grow(batch_bytes(&batch))?;
            let (of, sums) = (batch.column(0), batch.column(1));
            let pieces = of.as_string::<i32>().iter().zip(sums.as_binary::<i32>());
            for (of, piece) in pieces {
                let part = parts.entry(of.unwrap_or_default().into()).or_default();
                part.extend_from_slice(piece.unwrap_or_default());
            }
        }
        let mut all = Assessments::new(labels(&self.spec.model)?.iter().map(Label::form));
        for part in parts.values() {
            let part = Assessments::from_bytes(part);
            part.and_then(|part| all.merge(part)).map_err(ml_err)?;
        }
        let (spec, schema) = (&self.spec, Arc::clone(&self.schema));
        report(&spec.model, spec.report, &all, schema)
    }
}
