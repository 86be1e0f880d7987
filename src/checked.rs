//! Arithmetic on integers that fails on overflow, as SQL has it; DataFusion's wraps around.
//!
//! Done to logical plans, so that it holds wherever a plan runs, and after types are known.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use vatic_udfs::checked;

/// Puts checked functions in the place of operators on integers.
#[derive(Debug)]
pub(crate) struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let checked = plan.transform_up_with_subqueries(|plan| {
            let mut schema = merge_schema(&plan.inputs());
            if let LogicalPlan::TableScan(scan) = &plan {
                schema.merge(&scan.projected_schema);
            }
            let names = NamePreserver::new(&plan);
            let mapped = plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = expr.transform_up(|expr| Ok(check(expr, &schema)))?;
                Ok(expr.update_data(|expr| name.restore(expr)))
            })?;
            match mapped.transformed {
                true => mapped.map_data(LogicalPlan::recompute_schema),
                false => Ok(mapped),
            }
        })?;
        Ok(checked.data)
    }
}

fn check(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return Transformed::no(expr);
    };
    let types = (left.get_type(schema), right.get_type(schema));
    let are_integers =
        matches!(&types, (Ok(left), Ok(right)) if left == right && left.is_integer());
    match checked::function(op).filter(|_| are_integers) {
        Some(function) => {
            let call = ScalarFunction::new_udf(function, vec![*left, *right]);
            Transformed::yes(Expr::ScalarFunction(call))
        }
        None => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
    }
}
