//! The analyzer rule for integer arithmetic that fails on overflow, as in SQL; DataFusion's arithmetic wraps around.
//!
//! The rule changes logical plans, so that it holds wherever a plan runs, and runs after types are known.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;
use vatic_udfs::checked;

/// Replaces operators on integers by checked functions.
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
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let types = (type_of(&left, schema), type_of(&right, schema));
            let are_integers =
                matches!(&types, (Some(left), Some(right)) if left == right && left.is_integer());
            // NULL cannot overflow, and constant folding handles NULL as an operand of operators only.
            let may_overflow = are_integers && !is_null(&left) && !is_null(&right);
            match checked::function(op).filter(|_| may_overflow) {
                Some(function) => call(function, *left, *right),
                None => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            }
        }
        Expr::Negative(operand) => {
            let zero = type_of(&operand, schema)
                .filter(DataType::is_signed_integer)
                .and_then(|data_type| ScalarValue::new_zero(&data_type).ok());
            match (zero, checked::function(Operator::Minus)) {
                (Some(zero), Some(function)) => call(function, Expr::Literal(zero, None), *operand),
                _ => Transformed::no(Expr::Negative(operand)),
            }
        }
        expr => Transformed::no(expr),
    }
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        _ => false,
    }
}

fn call(function: Arc<ScalarUDF>, left: Expr, right: Expr) -> Transformed<Expr> {
    let call = ScalarFunction::new_udf(function, vec![left, right]);
    Transformed::yes(Expr::ScalarFunction(call))
}

/// The type of an operand. A checked operation has the type of its right side, so that a long chain of operations need not
/// be traversed again for each of them.
fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    match expr {
        Expr::ScalarFunction(call) if checked::is_checked(&call.func) => {
            type_of(call.args.last()?, schema)
        }
        expr => expr.get_type(schema).ok(),
    }
}
