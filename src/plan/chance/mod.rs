//! What is left to chance is drawn once: whoever reads a drawn value reads the same one.
//!
//! DataFusion puts an expression in the place of the column that it computes wherever that helps, and some of its rules
//! do so with `random()` too: a filter on a drawn group key or on a field of a drawn struct then sees other values than
//! the rows that it lets through, as does `random() BETWEEN a AND b`, which is written out as two comparisons.
//!
//! ```text
//! Filter: floor(random() * 10) < 3          Projection: t.x
//!   TableScan: t                     ─▶       Filter: floor(__draw_1 * 10) < 3
//!                                               Fence: __draw_1
//!                                                 Projection: t.x, random() AS __draw_1
//!                                                   TableScan: t
//! ```
//!
//! * `volatile` which expressions and plans are left to chance
//! * `draws` the rule that computes each of them in one place
//! * `fence` the operator above that place, which no expression passes
//! * `aliases` names of draws that would be drawn again

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
pub(crate) use volatile::{is_drawn_in_each_task, is_left_to_chance};

use crate::error::Result;
use crate::plan::extension::{PlanExtension, to_wire};

/// The fence above drawn values.
#[derive(Debug)]
pub(crate) struct Fence;

impl PlanExtension for Fence {
    fn name(&self) -> &'static str {
        "fence"
    }

    fn physical_planner(&self) -> Option<Arc<dyn ExtensionPlanner + Send + Sync>> {
        Some(Arc::new(fence::FencePlanner))
    }

    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
        exec.downcast_ref::<fence::FenceExec>()?;
        Some(to_wire(&()))
    }

    fn decode_exec(
        &self,
        _bytes: &[u8],
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(fence::FenceExec::new(input)))
    }
}
