//! [`PredictExec`]: physical operator that sends batches to the model workers and appends the outputs.
//!
//! The operator computes batches side by side ([`crate::model::in_flight`]), and keeps the order of rows. A dropped stream
//! starts no further batch.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use tokio::sync::OnceCell;

use super::known::KnownRows;
use super::metrics::Metrics;
use super::spec::PredictSpec;
use super::task::Task;
use crate::config::VaticOptions;
use crate::model::in_flight::{Ahead, rows_side_by_side};
use crate::model::runtime::ModelRuntime;
use crate::plan::display::write_operator;
use crate::plan::one_input::one_input;

#[derive(Debug)]
pub(super) struct PredictExec {
    input: Arc<dyn ExecutionPlan>,
    spec: Arc<PredictSpec>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    /// The rows that partitions of this process have computed.
    known: Arc<KnownRows>,
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
            known: Arc::default(),
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
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_operator(
            f,
            format,
            "PredictExec",
            format_args!(
                "{}, device={}, batch={}{}",
                self.spec.description,
                self.spec.options.device.resolved(),
                self.spec.size,
                if self.spec.computes_once {
                    ", dedupe"
                } else {
                    ""
                }
            ),
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
        let runtime = ModelRuntime::of(&context)?;
        let pool = Arc::clone(context.memory_pool());
        let memory = runtime.batch_memory("PredictExec", &pool);
        let task = Arc::new(Task {
            spec: Arc::clone(&self.spec),
            runtime,
            cache_bytes: VaticOptions::of(context.session_config().options()).cache_bytes,
            model: OnceCell::new(),
            schema: self.schema(),
            metrics: Arc::new(Metrics::new(&self.metrics, partition)),
            memory: Arc::new(memory),
            known: Arc::clone(&self.known),
            pool,
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
        let schema = self.schema();
        Ok(rows_side_by_side(schema, input, permits, reserve, predict))
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
