//! `evaluate(model [, input])` and `confusion_matrix(model, input)`, and `training_info(model)`.
//!
//! ```text
//! SQL ─ relation ─▶ EvaluateNode ─ physical ─▶ EvaluateExec(CoalescePartitionsExec(BatchCoalesce…(input)))
//!              └──▶ rows of constants, for what was stored at training
//! ```

mod exec;
mod node;
mod relation;

use std::sync::Arc;

use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::physical_planner::ExtensionPlanner;

use crate::extension::PlanExtension;
use crate::model::ResolvedModels;

/// `evaluate` and its siblings.
#[derive(Debug)]
pub(crate) struct Evaluate;

impl PlanExtension for Evaluate {
    fn relation_planner(&self, models: &Arc<ResolvedModels>) -> Option<Arc<dyn RelationPlanner>> {
        Some(Arc::new(relation::EvaluateRelation {
            models: Arc::clone(models),
        }))
    }

    fn physical_planner(&self) -> Option<Arc<dyn ExtensionPlanner + Send + Sync>> {
        Some(Arc::new(exec::EvaluatePlanner))
    }
}
