//! Which expressions and plans give other values each time.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::ExecutionPlan;

use crate::plan::sample::{draws_rows, is_drawn_anew};

/// Whether the value of this expression is drawn as a whole: a call of `random()`, a scalar sub-query in which something
/// is drawn, a function over the elements of a list that draws for each.
pub(super) fn is_draw(expr: &Expr) -> Result<bool> {
    match expr {
        Expr::ScalarSubquery(query) => draws(&query.subquery),
        Expr::HigherOrderFunction(_) => Ok(expr.is_volatile()),
        expr => Ok(is_drawn_call(expr)),
    }
}

/// Functions that DataFusion calls volatile so that they stay with their scan, which knows their values.
const OF_SCANS: [&str; 2] = ["file_row_index", "input_file_name"];

fn is_drawn_call(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) if OF_SCANS.contains(&call.name()) => false,
        expr => expr.is_volatile_node(),
    }
}

/// Whether something in an expression is drawn.
pub(super) fn has_draw(expr: &Expr) -> Result<bool> {
    expr.exists(is_draw)
}

/// Whether a plan may give other rows each time: something in it is drawn, or a limit takes whichever rows come first.
pub(crate) fn is_left_to_chance(plan: &LogicalPlan) -> Result<bool> {
    Ok(draws(plan)? || has_node(plan, |node| matches!(node, LogicalPlan::Limit(_)))?)
}

fn draws(plan: &LogicalPlan) -> Result<bool> {
    has_node(plan, |node| {
        let mut found = is_drawn_anew(node);
        // Nothing in here fails.
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

/// Whether several tasks of a cluster would each draw for themselves what one reads in the rows of another: a join has its
/// first input in every task, and nothing between it and a draw brings rows together.
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
    // Nothing in here fails.
    let _ = plan.apply_expressions(&mut |expr| {
        draws |= is_volatile(expr);
        Ok(TreeNodeRecursion::Continue)
    });
    draws || plan.children().into_iter().any(draws_in_task)
}
