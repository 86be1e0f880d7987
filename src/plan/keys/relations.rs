//! [`SoundRelations`]: what DataFusion's planner sees of a relation in FROM. While it plans a SELECT it reads dependencies
//! to add columns to GROUP BY; afterwards nobody can tell added columns from written ones.

use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::Result;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::TableFactor;

use super::dependencies::with_sound_keys;

/// Plans each relation as the other planners do, and makes its dependencies sound.
#[derive(Debug, Default)]
pub(crate) struct SoundRelations {
    /// Whether the next relation is one that this planner has just handed on.
    is_handed_on: AtomicBool,
}

impl RelationPlanner for SoundRelations {
    fn plan_relation(
        &self,
        factor: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        if self.is_handed_on.swap(false, Ordering::Relaxed) {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        }
        self.is_handed_on.store(true, Ordering::Relaxed);
        let planned = context.plan(factor);
        self.is_handed_on.store(false, Ordering::Relaxed);
        let plan = with_sound_keys(planned?)?.data;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, None,
        ))))
    }
}
