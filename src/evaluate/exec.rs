//! [`EvaluateExec`]: one partition of rows → one batch of results. Batches are scored side by side by the workers.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::{StreamExt, TryStreamExt};
use vatic_ml::data::labels::Labels;
use vatic_ml::model::Scored;
use vatic_ml::model::metrics::{Classified, Metric, classifier, regressor};

use super::node::{EvaluateNode, Report};
use crate::config::VaticOptions;
use crate::error::{SqlState, ml_err, sql_err};
use crate::model::ResolvedModel;
use crate::model::cache::ModelRuntime;
use crate::plan::table_function::feature_batch;

pub(super) struct EvaluatePlanner;

#[async_trait]
impl ExtensionPlanner for EvaluatePlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<EvaluateNode>() else {
            return Ok(None);
        };
        let mut input = Arc::clone(&physical_inputs[0]);
        if input.output_partitioning().partition_count() > 1 {
            input = Arc::new(CoalescePartitionsExec::new(input));
        }
        let spec = EvaluateSpec {
            model: Arc::clone(&node.model),
            report: node.report,
            features: node.features.clone(),
            label: node.label,
            description: node.describe(),
        };
        let schema = Arc::clone(UserDefinedLogicalNode::schema(node).inner());
        Ok(Some(Arc::new(EvaluateExec::new(input, spec, schema))))
    }
}

#[derive(Debug, Clone)]
pub(super) struct EvaluateSpec {
    pub(super) model: Arc<ResolvedModel>,
    pub(super) report: Report,
    pub(super) features: Vec<usize>,
    pub(super) label: usize,
    pub(super) description: String,
}

#[derive(Debug)]
pub(super) struct EvaluateExec {
    input: Arc<dyn ExecutionPlan>,
    spec: EvaluateSpec,
    properties: Arc<PlanProperties>,
}

impl EvaluateExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        spec: EvaluateSpec,
        schema: SchemaRef,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            input,
            spec,
            properties: Arc::new(properties),
        }
    }

    pub(super) fn spec(&self) -> &EvaluateSpec {
        &self.spec
    }
}

impl DisplayAs for EvaluateExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EvaluateExec: {}, device=cpu", self.spec.description)
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
        vec![Distribution::SinglePartition]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(
            children.swap_remove(0),
            self.spec.clone(),
            self.schema(),
        )))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let runtime = context.session_config().get_extension::<ModelRuntime>();
        let runtime =
            runtime.ok_or_else(|| sql_err(SqlState::Internal, "this process cannot run models"))?;
        let cache_bytes = VaticOptions::of(context.session_config().options()).cache_bytes;
        let input = self.input.execute(partition, context)?;
        let (spec, schema) = (self.spec.clone(), self.schema());
        let work = evaluate(input, runtime, cache_bytes, spec, Arc::clone(&schema));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            schema,
            futures::stream::once(work),
        )))
    }
}

async fn evaluate(
    input: SendableRecordBatchStream,
    runtime: Arc<ModelRuntime>,
    cache_bytes: usize,
    spec: EvaluateSpec,
    schema: SchemaRef,
) -> Result<RecordBatch> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let score = |batch: Result<RecordBatch>| async {
        let batch = batch?;
        let features = feature_batch(&spec.model, &spec.features, &batch)?;
        let label = Arc::clone(batch.column(spec.label));
        let (model, _) = runtime.load(&spec.model, cache_bytes).await?;
        runtime.run(move || model.score(&features, &label)).await
    };
    let is_empty =
        |batch: &Result<RecordBatch>| batch.as_ref().is_ok_and(|batch| batch.num_rows() == 0);
    let scores: Vec<Scored> = input
        .filter(|batch| std::future::ready(!is_empty(batch)))
        .map(score)
        .buffered(workers + 1)
        .try_collect()
        .await?;
    let all = concat(scores);
    match spec.report {
        Report::Metrics => metrics(&spec.model, all, schema),
        Report::ConfusionMatrix => confusion_matrix(&spec.model, &all, schema),
    }
}

fn concat(scores: Vec<Scored>) -> Scored {
    let mut all = Scored::default();
    for score in scores {
        all.classes.extend(score.classes);
        all.predicted_classes.extend(score.predicted_classes);
        all.probabilities.extend(score.probabilities);
        all.numbers.extend(score.numbers);
        all.predicted_numbers.extend(score.predicted_numbers);
        all.null_rows += score.null_rows;
    }
    all
}

fn metrics(model: &ResolvedModel, all: Scored, schema: SchemaRef) -> Result<RecordBatch> {
    let null_rows = all.null_rows as i64;
    let (metrics, counts) = match &model.manifest.labels {
        Labels::Number { .. } => (
            regressor(&all.numbers, &all.predicted_numbers),
            vec![all.numbers.len() as i64, null_rows],
        ),
        Labels::Classes { values } => {
            let unseen = all.classes.iter().filter(|class| class.is_none()).count() as i64;
            let counts = vec![all.classes.len() as i64, unseen, null_rows];
            let rows = Classified {
                classes: values.len(),
                labels: all.classes,
                predicted: all.predicted_classes,
                probabilities: all.probabilities,
            };
            (classifier(&rows), counts)
        }
    };
    let number = |metric: &Metric| Arc::new(Float64Array::from(vec![metric.value])) as ArrayRef;
    let count = |count: i64| Arc::new(Int64Array::from(vec![count])) as ArrayRef;
    let columns = metrics
        .iter()
        .map(number)
        .chain(counts.into_iter().map(count))
        .collect();
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// Every pair of labels with its count; labels that training did not see are one NULL, if there are any.
fn confusion_matrix(model: &ResolvedModel, all: &Scored, schema: SchemaRef) -> Result<RecordBatch> {
    let labels = &model.manifest.labels;
    let classes = labels.class_count();
    let mut counts = vec![0i64; (classes + 1) * classes];
    for (expected, &predicted) in all.classes.iter().zip(&all.predicted_classes) {
        let expected = expected.map_or(classes, |class| class as usize);
        counts[expected * classes + predicted as usize] += 1;
    }
    let has_unseen = counts[classes * classes..].iter().any(|count| *count > 0);
    counts.truncate(if has_unseen {
        (classes + 1) * classes
    } else {
        classes * classes
    });
    let expected: Vec<u32> = (0..counts.len())
        .map(|pair| (pair / classes % classes) as u32)
        .collect();
    let predicted: Vec<u32> = (0..counts.len())
        .map(|pair| (pair % classes) as u32)
        .collect();
    let seen = NullBuffer::from_iter((0..counts.len()).map(|pair| pair / classes < classes));
    let data_type = &model.manifest.signature.target.data_type;
    let columns = vec![
        labels
            .to_array(&expected, Some(&seen), data_type)
            .map_err(ml_err)?,
        labels
            .to_array(&predicted, None, data_type)
            .map_err(ml_err)?,
        Arc::new(Int64Array::from(counts)),
    ];
    let columns = columns
        .into_iter()
        .zip(schema.fields())
        .map(|(column, field)| cast(&column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}
