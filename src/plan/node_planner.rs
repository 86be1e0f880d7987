//! [`NodePlanner`]: the extension planner of a node whose operators follow from the node and the operators below it.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use crate::error::Result;

/// Plans the operators of a node over those of its inputs.
type Plan<N> = fn(&N, &[Arc<dyn ExecutionPlan>], &dyn Session) -> Result<Arc<dyn ExecutionPlan>>;

/// Plans the nodes of type `N`, and no others.
pub(crate) struct NodePlanner<N>(pub(crate) Plan<N>);

#[async_trait]
impl<N: 'static> ExtensionPlanner for NodePlanner<N> {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let node = node.as_any().downcast_ref::<N>();
        let plan = |node| (self.0)(node, physical_inputs, session);
        node.map(plan).transpose()
    }
}
