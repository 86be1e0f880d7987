//! [`SoundRelations`]: the relation planner that corrects the dependencies of each relation in FROM. DataFusion's planner reads
//! them while it plans a SELECT, to add columns to GROUP BY; later, added columns cannot be told from written ones.

use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::Result;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::TableFactor;

use super::dependencies::with_sound_keys;

/// Plans each relation with the other planners, and corrects its dependencies.
#[derive(Debug, Default)]
pub(crate) struct SoundRelations {
    /// Whether the next relation is one that this planner has just passed to the other planners.
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
