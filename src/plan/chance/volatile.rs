//! Tests for volatile expressions and plans: those that may give different values each time; and for aggregates of rows in any order.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::ExecutionPlan;

use crate::plan::sample::{draws_rows, is_drawn_anew};

/// Whether the expression as a whole is a random value: a call of `random()`, a scalar sub-query that draws, or a function
/// that draws for each element of a list.
pub(super) fn is_draw(expr: &Expr) -> Result<bool> {
    match expr {
        Expr::ScalarSubquery(query) => draws(&query.subquery),
        Expr::HigherOrderFunction(_) => Ok(expr.is_volatile()),
        expr => Ok(is_drawn_call(expr)),
    }
}

/// Functions that DataFusion marks as volatile only to keep them in their scan, which knows their values.
const OF_SCANS: [&str; 2] = ["file_row_index", "input_file_name"];

fn is_drawn_call(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) if OF_SCANS.contains(&call.name()) => false,
        expr => expr.is_volatile_node(),
    }
}

/// Whether an expression contains a draw.
pub(super) fn has_draw(expr: &Expr) -> Result<bool> {
    expr.exists(is_draw)
}

/// Whether a plan may return different rows each time: it draws, or a limit takes whichever rows come first.
pub(crate) fn is_nondeterministic(plan: &LogicalPlan) -> Result<bool> {
    Ok(draws(plan)? || has_node(plan, |node| matches!(node, LogicalPlan::Limit(_)))?)
}

fn draws(plan: &LogicalPlan) -> Result<bool> {
    has_node(plan, |node| {
        let mut found = is_drawn_anew(node);
        // The closure never fails.
        let _ = node.apply_expressions(|expr| {
            found |= expr.exists(|expr| Ok(is_drawn_call(expr)))?;
            Ok(TreeNodeRecursion::Continue)
        });
        found
    })
}

fn has_node(plan: &LogicalPlan, is_wanted: impl Fn(&LogicalPlan) -> bool) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= is_wanted(node);
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

/// Whether the value of the aggregate of this name depends on the order of its rows. Rows of equal keys have any order.
pub(crate) fn depends_on_order(aggregate: &str) -> bool {
    const OF_ORDER: [&str; 5] = [
        "array_agg",
        "first_value",
        "last_value",
        "nth_value",
        "string_agg",
    ];
    OF_ORDER.contains(&aggregate)
}

/// Whether several tasks of a cluster would each draw values that all tasks must share: a join has its first input in
/// every task, and no exchange lies between the join and a draw.
pub(crate) fn is_drawn_in_each_task(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let inputs = plan.children();
    let is_copied = matches!(
        plan.name(),
        "HashJoinExec" | "NestedLoopJoinExec" | "CrossJoinExec" | "PiecewiseMergeJoinExec"
    );
    let is_drawn = is_copied && inputs.first().is_some_and(|input| draws_in_task(input));
    is_drawn || inputs.into_iter().any(is_drawn_in_each_task)
}

fn draws_in_task(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let is_exchange = matches!(
        plan.name(),
        "CoalescePartitionsExec" | "SortPreservingMergeExec" | "RepartitionExec"
    );
    if is_exchange {
        return false;
    }
    let mut draws = draws_rows(plan.as_ref());
    // The closure never fails.
    let _ = plan.apply_expressions(&mut |expr| {
        draws |= is_volatile(expr);
        Ok(TreeNodeRecursion::Continue)
    });
    draws || plan.children().into_iter().any(draws_in_task)
}
