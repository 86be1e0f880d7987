//! [`PredictNode`] → `PredictExec(BatchCoalesceExec(input))`.
//!
//! Done here and not in a rule of the physical optimizer: a cluster's adaptive planning replaces those rules.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::coalesce::BatchCoalesceExec;
use super::exec::{PredictExec, PredictSpec};
use super::node::PredictNode;
use crate::config::VaticOptions;

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
        if node.outputs.is_empty() {
            return Ok(Some(input));
        }
        let settings = VaticOptions::of(session.config_options());
        let batch_rows = node
            .options
            .batch_size
            .unwrap_or(settings.batch_size)
            .max(1);
        let spec = PredictSpec {
            model: Arc::clone(&node.model),
            features: node.features.clone(),
            outputs: node.outputs.clone(),
            options: node.options,
            batch_rows,
            description: node.describe(),
        };
        let coalesced = Arc::new(BatchCoalesceExec::new(input, batch_rows));
        Ok(Some(Arc::new(PredictExec::try_new(coalesced, spec)?)))
    }
}
