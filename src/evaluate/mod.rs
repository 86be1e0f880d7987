//! The table functions `evaluate(model [, input])`, `confusion_matrix(model, input [, target])`, `roc_curve`, `pr_curve` and
//! `calibration_curve` with the same arguments, and `training_info(model)`.
//!
//! ```text
//! SQL ─ relation ─▶ EvaluateNode ─ physical ─▶ EvaluateExec: merge
//!              │                                 └ CoalescePartitionsExec
//!              │                                    └ EvaluateExec: score
//!              │                                       └ BatchCoalesceExec
//!              │                                          └ input
//!              └──▶ constant rows, for results that were stored at training
//! ```
//! Each partition is scored where its rows are, and returns sums instead of probabilities.
//!
//! * `relation` the table functions in SQL → [`node::EvaluateNode`]
//! * `node` the logical node and its kind of report
//! * `physical` plans the operators of a node
//! * `exec` rows → sums of a partition → one batch of results
//! * `report` sums → metrics, a confusion matrix or a curve
//! * `codec` wire codec of the operator

mod codec;
mod exec;
mod node;
mod physical;
mod relation;
mod report;

use std::sync::Arc;

use datafusion::logical_expr::UserDefinedLogicalNode;
use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::ExtensionPlanner;

use crate::error::Result;
use crate::model::ResolvedModels;
use crate::plan::extension::{PlanExtension, only_input};
use crate::plan::node_planner::NodePlanner;

/// Whether this node evaluates a model on all rows of its input, and so returns rows even for an empty input.
pub(crate) fn is_evaluation(node: &dyn UserDefinedLogicalNode) -> bool {
    node.as_any().is::<node::EvaluateNode>()
}

/// The plan extension of `evaluate`, `confusion_matrix`, the curves and `training_info`.
#[derive(Debug)]
pub(crate) struct Evaluate;

impl PlanExtension for Evaluate {
    fn name(&self) -> &'static str {
        "evaluate"
    }

    fn relation_planner(&self, models: &Arc<ResolvedModels>) -> Option<Arc<dyn RelationPlanner>> {
        Some(Arc::new(relation::EvaluateRelation {
            models: Arc::clone(models),
        }))
    }

    fn physical_planner(&self) -> Option<Arc<dyn ExtensionPlanner + Send + Sync>> {
        Some(Arc::new(NodePlanner(physical::plan)))
    }

    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
        codec::encode(exec)
    }

    fn decode_exec(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        codec::decode(bytes, only_input(inputs)?)
    }
}
