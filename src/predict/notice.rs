//! [`truncated`]: texts whose ends a model has left out, for a notice to the user.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;

use super::exec::PredictExec;
use super::gather::has_texts;
use super::metrics::TRUNCATED_ROWS;

/// Whether a plan has an operator that may leave out the end of a text.
pub(crate) fn may_truncate(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let exec = plan.downcast_ref::<PredictExec>();
    exec.is_some_and(|exec| has_texts(exec.spec()) && exec.spec().options.truncate)
        || plan.children().into_iter().any(may_truncate)
}

/// The model of an operator and the number of texts that it has cut off, if there are any.
pub(crate) fn truncated(
    exec: &Arc<dyn ExecutionPlan>,
    metrics: &MetricsSet,
) -> Option<(String, usize)> {
    let spec = exec.downcast_ref::<PredictExec>()?.spec();
    let rows = metrics.sum_by_name(TRUNCATED_ROWS)?.as_usize();
    (rows > 0).then(|| (spec.model.label(), rows))
}
