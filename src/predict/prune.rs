//! [`PruneOutputs`]: optimizer rule that removes unread outputs of a model, so that they are not computed.
//!
//! DataFusion prunes the input of an extension node, but not the node's own columns. Below a projection or an aggregate,
//! through filters, sorts, limits, joins, aliases and other models, the read columns are known, so this rule removes unread outputs
//! from the nodes there.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::node::{Appended, ERROR_COLUMN, predict_of};
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

/// Removes the outputs that are not in `read` from the node below. Names are compared without qualifiers, which can
/// only keep too many outputs.
fn prune(plan: LogicalPlan, mut read: HashSet<String>) -> Result<Transformed<LogicalPlan>> {
    match &plan {
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::SubqueryAlias(_) => {
            add_columns(&plan.expressions(), &mut read);
            let pruned = plan.map_children(|child| prune(child, read.clone()))?;
            if !pruned.transformed {
                return Ok(pruned);
            }
            pruned.map_data(LogicalPlan::recompute_schema)
        }
        LogicalPlan::Extension(_) => {
            let Some(predict) = predict_of(&plan) else {
                return Ok(Transformed::no(plan));
            };
            let appended = &predict.appended;
            let is_read = |output: &usize| read.contains(appended.name_of(*output, &predict.model));
            let kept = Appended {
                outputs: appended.outputs.iter().copied().filter(is_read).collect(),
                name: appended.name.clone(),
                has_error: appended.has_error && read.contains(ERROR_COLUMN),
            };
            // With `on_null => 'error'`, the rows must be checked even if no output is read.
            let stays = kept == *appended || (kept.is_empty() && predict.options.error_on_null);
            let kept = if stays { appended.clone() } else { kept };
            if !kept.is_empty() {
                let columns = predict.input.schema().fields();
                let features = predict.features.iter();
                read.extend(features.map(|feature| columns[*feature].name().clone()));
            }
            let input = prune(predict.input.clone(), read)?;
            if stays && !input.transformed {
                return Ok(Transformed::no(plan));
            }
            let node = predict.over(input.data, kept)?;
            Ok(Transformed::yes(LogicalPlan::Extension(Extension {
                node: Arc::new(node),
            })))
        }
        _ => Ok(Transformed::no(plan)),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::common::DFSchema;
    use datafusion::common::tree_node::TreeNodeRecursion;
    use datafusion::logical_expr::{EmptyRelation, LogicalPlanBuilder, col, lit};
    use datafusion::optimizer::OptimizerContext;

    use super::super::node::PredictNode;
    use super::super::options::PredictOptions;
    use super::*;
    use crate::model::example_model;

    fn predict(options: PredictOptions) -> LogicalPlanBuilder {
        let fields = ["id", "x"].map(|name| Field::new(name, DataType::Float64, true));
        let schema = DFSchema::try_from(Schema::new(fields.to_vec())).unwrap();
        let input = LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: false,
            schema: Arc::new(schema),
        });
        let model = Arc::new(example_model(&[("x", DataType::Float64)]));
        let node = PredictNode::try_new(model, input, options).unwrap();
        LogicalPlanBuilder::from(LogicalPlan::Extension(Extension {
            node: Arc::new(node),
        }))
    }

    /// The columns that the node below still appends.
    fn appended(plan: LogicalPlanBuilder) -> Vec<String> {
        let context = OptimizerContext::new();
        let plan = plan.build().unwrap();
        let pruned = PruneOutputs.rewrite(plan, &context).unwrap().data;
        let mut found = None;
        pruned
            .apply(|plan| {
                if let LogicalPlan::Extension(extension) = plan {
                    let node = extension.node.as_any().downcast_ref::<PredictNode>();
                    let node = node.unwrap();
                    let fields = node.appended.fields(&node.model);
                    found = Some(fields.iter().map(|field| field.name().clone()).collect());
                    assert_eq!(node.features.is_empty(), node.appended.is_empty());
                }
                Ok(TreeNodeRecursion::Continue)
            })
            .unwrap();
        found.unwrap()
    }

    #[test]
    fn outputs_that_nobody_reads_are_not_computed() {
        let node = || predict(PredictOptions::default());
        let all = ["predicted_y", "predicted_y_probs"];
        assert_eq!(appended(node().project(vec![col("id")]).unwrap()), [""; 0]);
        assert_eq!(appended(node().project(all.map(col)).unwrap()), all);
        let one = node().project(vec![col("predicted_y"), col("id")]).unwrap();
        assert_eq!(appended(one), ["predicted_y"]);
        // Without a projection every column is read.
        assert_eq!(appended(node().limit(0, Some(1)).unwrap()), all);
    }

    #[test]
    fn an_output_that_a_filter_or_a_sort_below_the_projection_reads_is_computed() {
        let filtered = predict(PredictOptions::default())
            .filter(col("predicted_y").eq(lit(1_i64)))
            .unwrap()
            .project(vec![col("id")])
            .unwrap();
        assert_eq!(appended(filtered), ["predicted_y"]);
        let sorted = predict(PredictOptions::default())
            .sort(vec![col("predicted_y_probs").sort(true, true)])
            .unwrap()
            .project(vec![col("id")])
            .unwrap();
        assert_eq!(appended(sorted), ["predicted_y_probs"]);
    }

    #[test]
    fn the_column_of_errors_is_an_output_too() {
        let options = PredictOptions {
            null_on_error: true,
            ..PredictOptions::default()
        };
        let error = predict(options.clone())
            .project(vec![col(ERROR_COLUMN)])
            .unwrap();
        assert_eq!(appended(error), [ERROR_COLUMN]);
        let label = predict(options).project(vec![col("predicted_y")]).unwrap();
        assert_eq!(appended(label), ["predicted_y"]);
    }

    #[test]
    fn rows_that_may_fail_are_looked_at_even_if_no_output_is_read() {
        let options = PredictOptions {
            error_on_null: true,
            ..PredictOptions::default()
        };
        let plan = predict(options).project(vec![col("id")]).unwrap();
        assert_eq!(appended(plan), ["predicted_y", "predicted_y_probs"]);
    }
}
