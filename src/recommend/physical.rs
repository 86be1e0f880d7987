//! Extension planner: [`RecommendNode`] → `RecommendExec(BatchCoalesceExec(users), items)`.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use vatic_ml::device::DeviceName;

use super::exec::{RecommendExec, RecommendSpec};
use super::node::RecommendNode;
use crate::error::{SqlState, sql_err};
use crate::predict::{BatchCoalesceExec, BatchSize, WantedSize};

/// Users of a batch: enough to read the items once for many of them, and few enough to keep all cores busy.
const USERS: usize = 128;

pub(super) struct RecommendPlanner;

#[async_trait]
impl ExtensionPlanner for RecommendPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<RecommendNode>() else {
            return Ok(None);
        };
        let missing = || sql_err(SqlState::Internal, "recommend without users");
        let users = physical_inputs.first().ok_or_else(missing)?;
        let wanted = WantedSize {
            rows: Some(USERS),
            tokens: None,
        };
        let size = BatchSize::of(&node.model, &[], wanted, DeviceName::Cpu, session);
        let users = Arc::new(BatchCoalesceExec::new(Arc::clone(users), size));
        let items = physical_inputs.get(1).map(Arc::clone);
        let spec = RecommendSpec {
            model: Arc::clone(&node.model),
            top_k: node.top_k,
            excluded_by: node.excluded_by,
            user_columns: node.user_columns.clone(),
            item_columns: node.item_columns.clone(),
            description: node.describe(),
        };
        Ok(Some(Arc::new(RecommendExec::try_new(users, items, spec)?)))
    }
}
