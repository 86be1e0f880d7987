//! [`EmptyScalars`]: the analyzer rule that makes a scalar sub-query nullable if the sub-query may return no row.
//!
//! DataFusion considers such a sub-query never NULL if its column is not nullable, as in `(SELECT 100 FROM t WHERE false)`,
//! and folds `IS NULL` of it.

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use vatic_udfs::nullable::{is_nullable, nullable};

#[derive(Debug)]
pub(super) struct EmptyScalars;

impl AnalyzerRule for EmptyScalars {
    fn name(&self) -> &str {
        "empty_scalars"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|node| {
            let names = NamePreserver::new(&node);
            let node = node.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = marked(expr)?;
                Ok(expr.update_data(|expr| name.restore(expr)))
            })?;
            match node.transformed {
                true => node.map_data(LogicalPlan::recompute_schema),
                false => Ok(node),
            }
        })?;
        Ok(plan.data)
    }
}

fn marked(expr: Expr) -> Result<Transformed<Expr>> {
    match expr {
        // The rule may see a plan twice.
        Expr::ScalarFunction(call) if is_nullable(&call.func) => {
            Ok(Transformed::no(Expr::ScalarFunction(call)))
        }
        Expr::ScalarSubquery(query) => {
            let is_never_null = !query.subquery.schema().field(0).is_nullable();
            let may_be_empty = is_never_null && !has_row(&query.subquery);
            let value = Expr::ScalarSubquery(query);
            Ok(match may_be_empty {
                true => {
                    let call = ScalarFunction::new_udf(nullable(), vec![value]);
                    Transformed::yes(Expr::ScalarFunction(call))
                }
                false => Transformed::no(value),
            })
        }
        expr => expr.map_children(marked),
    }
}

fn has_row(query: &LogicalPlan) -> bool {
    match query {
        LogicalPlan::Projection(projection) => has_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_row(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        _ => false,
    }
}
