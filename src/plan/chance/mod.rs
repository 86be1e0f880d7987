//! Volatile expressions such as `random()` are evaluated once per row: every reader of a random value sees the same one.
//!
//! Some optimizer rules of DataFusion replace a column by the expression that computes it, even if the expression calls
//! `random()`. A filter on a drawn group key or on a field of a drawn struct then tests other values than those of the rows
//! that it passes. So does `random() BETWEEN a AND b`, which DataFusion rewrites into two comparisons.
//!
//! ```text
//! Filter: floor(random() * 10) < 3          Projection: t.x
//!   TableScan: t                     ─▶       Filter: floor(__draw_1 * 10) < 3
//!                                               Fence: __draw_1
//!                                                 Projection: t.x, random() AS __draw_1
//!                                                   TableScan: t
//! ```
//!
//! * `volatile` tests for volatile expressions and plans, and for aggregates of rows in any order
//! * `draws` the analyzer rule that evaluates each volatile expression in one place
//! * `fence` the operator above that place, which no expression passes
//! * `aliases` refuses clauses that would draw the value of an alias again

mod aliases;
mod draws;
mod fence;
mod volatile;

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::ExtensionPlanner;

pub(crate) use aliases::check_aliases;
pub(crate) use draws::DrawOnce;
pub(crate) use fence::without_new_columns;
pub(crate) use volatile::{depends_on_order, is_drawn_in_each_task, is_nondeterministic};

use crate::error::Result;
use crate::plan::extension::{PlanExtension, only_input, to_wire};
use crate::plan::node_planner::NodePlanner;

/// The plan extension for fences above drawn values.
#[derive(Debug)]
pub(crate) struct Fence;

impl PlanExtension for Fence {
    fn name(&self) -> &'static str {
        "fence"
    }

    fn physical_planner(&self) -> Option<Arc<dyn ExtensionPlanner + Send + Sync>> {
        Some(Arc::new(NodePlanner(fence::plan)))
    }

    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
        exec.downcast_ref::<fence::FenceExec>()?;
        Some(to_wire(&()))
    }

    fn decode_exec(
        &self,
        _bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(fence::FenceExec::new(only_input(inputs)?)))
    }
}
