//! Extension planner: [`PredictNode`] → `PredictExec(BatchCoalesceExec(input))`.
//!
//! A physical optimizer rule could not add BatchCoalesceExec: a cluster's adaptive planning replaces those rules.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::coalesce::{BatchCoalesceExec, BatchSize};
use super::exec::{PredictExec, PredictSpec};
use super::node::PredictNode;

pub(super) struct PredictPlanner;

#[async_trait]
impl ExtensionPlanner for PredictPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<PredictNode>() else {
            return Ok(None);
        };
        let input = Arc::clone(&physical_inputs[0]);
        if node.appended.is_empty() {
            return Ok(Some(input));
        }
        let size = BatchSize::of(
            &node.model,
            &node.features,
            node.options.batch_size,
            node.options.device,
            session,
        );
        let spec = PredictSpec {
            model: Arc::clone(&node.model),
            features: node.features.clone(),
            appended: node.appended.clone(),
            options: node.options.clone(),
            size,
            description: node.describe(),
        };
        let coalesced = Arc::new(BatchCoalesceExec::new(input, size));
        Ok(Some(Arc::new(PredictExec::try_new(coalesced, spec)?)))
    }
}
