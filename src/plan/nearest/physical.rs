//! Extension planner: [`NearestNode`] → an operator that searches each partition of the items, and one that merges the results.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::merge_exec::MergeExec;
use super::node::NearestNode;
use super::search_exec::SearchExec;
use crate::error::{SqlState, sql_err};

pub(super) struct NearestPlanner;

#[async_trait]
impl ExtensionPlanner for NearestPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<NearestNode>() else {
            return Ok(None);
        };
        let [queries, items] = physical_inputs else {
            return Err(sql_err(SqlState::Internal, "nearest has two inputs"));
        };
        let queries = in_one_partition(Arc::clone(queries));
        let search = SearchExec::try_new(queries, Arc::clone(items), node.spec)?;
        let together = Arc::new(CoalescePartitionsExec::new(Arc::new(search)));
        let merged = MergeExec::try_new(together, node.spec.top_k)?;
        Ok(Some(Arc::new(merged)))
    }
}

fn in_one_partition(exec: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    match exec.output_partitioning().partition_count() {
        1 => exec,
        _ => Arc::new(CoalescePartitionsExec::new(exec)),
    }
}
