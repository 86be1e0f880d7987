//! Extension planner: [`EvaluateNode`] → an operator that scores each partition, and one that merges the sums.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::exec::{DEVICE, EvaluateExec, EvaluateSpec, Step};
use super::node::EvaluateNode;
use crate::predict::{BatchCoalesceExec, BatchSize, WantedSize};

pub(super) struct EvaluatePlanner;

#[async_trait]
impl ExtensionPlanner for EvaluatePlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<EvaluateNode>() else {
            return Ok(None);
        };
        let input = Arc::clone(&physical_inputs[0]);
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
        Ok(Some(Arc::new(merged)))
    }
}
