//! Tests of plans and expressions for calls of model functions.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::call::{PlannedCall, is_call, planned};
use super::place::has_columns;
use crate::error::{SqlState, sql_err};
use crate::predict::joins::is_query;

/// Whether a plan has calls, also in its sub-queries.
pub(super) fn plan_has_calls(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= node_has_calls(node)?;
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

/// Whether an operator has calls.
pub(super) fn node_has_calls(node: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(|expr| {
        found |= has_call(expr)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Whether an expression has calls.
pub(super) fn has_call(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| Ok(is_call(expr)))
}

/// The first call in these expressions.
pub(super) fn first_call(exprs: &[Expr]) -> Result<Option<PlannedCall>> {
    let mut found = None;
    for expr in exprs {
        expr.apply(|expr| {
            if found.is_none() {
                found = planned(expr)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(found)
}

/// Whether each call in a condition of a join reads columns of one side only.
pub(super) fn is_of_sides(condition: &Expr, left: &DFSchema, right: &DFSchema) -> Result<bool> {
    let mut is_of_sides = true;
    condition.apply(|expr| {
        if is_call(expr) {
            let columns = expr.column_refs();
            is_of_sides &= has_columns(left, &columns) || has_columns(right, &columns);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(is_of_sides)
}

/// Whether a call is NULL where all columns are NULL: its features are columns.
pub(super) fn reads_columns_only(call: &Expr) -> bool {
    match planned(call) {
        Ok(Some(call)) => call.reads_columns_only(),
        Ok(None) | Err(_) => false,
    }
}

/// Whether a call has no sub-query among its arguments.
pub(super) fn reads_no_query(call: &Expr) -> bool {
    // The closure never fails.
    !call.exists(|expr| Ok(is_query(expr))).unwrap_or(true)
}

/// Refuses arguments that are not known where the operator would be.
pub(super) fn check_arguments(call: &PlannedCall) -> Result<()> {
    let mut wrong = None;
    for feature in &call.features {
        feature.apply(|expr| {
            let problem = match expr {
                Expr::OuterReferenceColumn(..) => {
                    "a sub-query cannot compute {} of a column of the query around it; compute it in that query, and use its column"
                }
                Expr::LambdaVariable(_) => {
                    "{} cannot be computed for each element of a list; use unnest, and the column that it gives"
                }
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            wrong = Some(problem.replace("{}", call.function));
            Ok(TreeNodeRecursion::Stop)
        })?;
    }
    match wrong {
        Some(message) => Err(sql_err(SqlState::Unsupported, message)),
        None => Ok(()),
    }
}
