//! Everything we add to DataFusion's plans.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::physical_planner::ExtensionPlanner;

use crate::evaluate::Evaluate;
use crate::model::ResolvedModels;
use crate::predict::Predict;

/// Something we add to plans: how SQL becomes its node, and its node an operator.
pub(crate) trait PlanExtension: Debug + Send + Sync {
    /// Plans its table functions, given the models that the statement uses.
    fn relation_planner(&self, _models: &Arc<ResolvedModels>) -> Option<Arc<dyn RelationPlanner>> {
        None
    }

    /// Plans its nodes; `None` if it has none of its own.
    fn physical_planner(&self) -> Option<Arc<dyn ExtensionPlanner + Send + Sync>>;
}

/// All of them.
pub(crate) const EXTENSIONS: &[&dyn PlanExtension] = &[&Predict, &Evaluate];
