//! The plan of a [`NearestNode`]: an operator that searches each partition of the items, and one that merges the results.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::merge_exec::MergeExec;
use super::node::NearestNode;
use super::search_exec::SearchExec;
use crate::error::{SqlState, sql_err};

pub(super) fn plan(
    node: &NearestNode,
    inputs: &[Arc<dyn ExecutionPlan>],
    _session: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    let [queries, items] = inputs else {
        return Err(sql_err(SqlState::Internal, "nearest has two inputs"));
    };
    let queries = in_one_partition(Arc::clone(queries));
    let search = SearchExec::try_new(queries, Arc::clone(items), node.spec)?;
    let together = Arc::new(CoalescePartitionsExec::new(Arc::new(search)));
    let merged = MergeExec::try_new(together, node.spec.top_k)?;
    Ok(Arc::new(merged))
}

pub(super) fn in_one_partition(exec: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    match exec.output_partitioning().partition_count() {
        1 => exec,
        _ => Arc::new(CoalescePartitionsExec::new(exec)),
    }
}
