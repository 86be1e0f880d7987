//! Drops outputs of a model that nobody reads, so that they are not computed.
//!
//! DataFusion prunes the input of an extension node, not its own columns. Where the columns read are known (below a
//! projection or an aggregate, through filters, sorts, limits and aliases), this rule takes unread outputs out of the
//! node.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::node::{Appended, ERROR_COLUMN, PredictNode};
use crate::error::Result;

#[derive(Debug, Default)]
pub(crate) struct PruneOutputs;

impl OptimizerRule for PruneOutputs {
    fn name(&self) -> &str {
        "prune_model_outputs"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_)) {
            return Ok(Transformed::no(plan));
        }
        let mut read = HashSet::new();
        add_columns(&plan.expressions(), &mut read);
        plan.map_children(|child| prune(child, read.clone()))
    }
}

fn add_columns(expressions: &[Expr], read: &mut HashSet<String>) {
    for expression in expressions {
        read.extend(
            expression
                .column_refs()
                .into_iter()
                .map(|column| column.name.clone()),
        );
    }
}

/// Takes out of the node below the outputs that are not in `read`. Names are compared without qualifiers, which can
/// only keep too much.
fn prune(plan: LogicalPlan, mut read: HashSet<String>) -> Result<Transformed<LogicalPlan>> {
    match &plan {
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::SubqueryAlias(_) => {
            add_columns(&plan.expressions(), &mut read);
            let pruned = plan.map_children(|child| prune(child, read.clone()))?;
            if !pruned.transformed {
                return Ok(pruned);
            }
            pruned.map_data(LogicalPlan::recompute_schema)
        }
        LogicalPlan::Extension(Extension { node }) => {
            let Some(predict) = node.as_any().downcast_ref::<PredictNode>() else {
                return Ok(Transformed::no(plan));
            };
            let appended = &predict.appended;
            let ports = &predict.model.manifest.signature.outputs;
            let is_read = |output: &usize| read.contains(&ports[*output].name);
            let kept = Appended {
                outputs: appended.outputs.iter().copied().filter(is_read).collect(),
                has_error: appended.has_error && read.contains(ERROR_COLUMN),
            };
            // With an error on NULL the rows must be looked at, even if no output is.
            if kept == *appended || (kept.is_empty() && predict.options.error_on_null) {
                return Ok(Transformed::no(plan));
            }
            let model = Arc::clone(&predict.model);
            let pruned =
                PredictNode::with_appended(model, predict.input.clone(), predict.options, kept)?;
            Ok(Transformed::yes(LogicalPlan::Extension(Extension {
                node: Arc::new(pruned),
            })))
        }
        _ => Ok(Transformed::no(plan)),
    }
}
