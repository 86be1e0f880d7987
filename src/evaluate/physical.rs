//! The plan of an [`EvaluateNode`]: an operator that scores each partition, and one that merges the sums.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;

use super::exec::{DEVICE, EvaluateExec, EvaluateSpec, Step};
use super::node::EvaluateNode;
use crate::predict::{BatchCoalesceExec, BatchSize, WantedSize};

pub(super) fn plan(
    node: &EvaluateNode,
    inputs: &[Arc<dyn ExecutionPlan>],
    session: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    let input = Arc::clone(&inputs[0]);
    let device = node.model.device(DEVICE);
    let wanted = WantedSize::default();
    let size = BatchSize::of(&node.model, &node.features, wanted, device, session);
    let input = Arc::new(BatchCoalesceExec::new(input, size));
    let spec = |step| EvaluateSpec {
        model: Arc::clone(&node.model),
        report: node.report,
        features: node.features.clone(),
        labels: node.labels.clone(),
        step,
        description: node.describe(),
    };
    let scored = Arc::new(EvaluateExec::try_new(input, spec(Step::Score))?);
    let together = Arc::new(CoalescePartitionsExec::new(scored));
    let merged = EvaluateExec::try_new(together, spec(Step::Merge))?;
    Ok(Arc::new(merged))
}
