//! [`OuterKeys`]: the analyzer rule for `f(x) = outer.y` in a correlated sub-query with groups.
//!
//! DataFusion groups the rows of such a sub-query by `f(x)`, but if `f` is a cast, DataFusion groups by `x`: two values of `x`
//! with the same cast then give two rows. This rule computes `f(x)` as a column.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator, Subquery, ident};
use datafusion::optimizer::AnalyzerRule;

use super::computed::filter_computed;
use crate::plan::names::unused_name;

#[derive(Debug)]
pub(super) struct OuterKeys;

impl AnalyzerRule for OuterKeys {
    fn name(&self) -> &str {
        "outer_keys"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let mut names = 0;
        let plan = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Subquery(query) if has_groups(&query)? => {
                let plan = Arc::unwrap_or_clone(Arc::clone(&query.subquery));
                let plan = plan.transform_up(|node| match node {
                    LogicalPlan::Filter(filter) => with_keys(filter, &mut names),
                    node => Ok(Transformed::no(node)),
                })?;
                let query = query.with_plan(Arc::new(plan.data));
                Ok(Transformed::yes(LogicalPlan::Subquery(query)))
            }
            node => Ok(Transformed::no(node)),
        })?;
        Ok(plan.data)
    }
}

fn has_groups(query: &Subquery) -> Result<bool> {
    let has_groups = query.subquery.exists(|node| {
        Ok(matches!(
            node,
            LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_)
        ))
    })?;
    Ok(has_groups && !query.outer_ref_columns.is_empty())
}

fn with_keys(filter: Filter, names: &mut usize) -> Result<Transformed<LogicalPlan>> {
    let mut keys = Vec::new();
    let mut key_for = |expr: Expr| {
        let name = unused_name("outer_key", names, filter.input.schema());
        keys.push(expr.alias(&name));
        ident(name)
    };
    let parts = split_conjunction_owned(filter.predicate.clone());
    let parts = parts.into_iter().map(|part| match part {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) => {
            let (left, right) = match (is_computed(&left), is_computed(&right)) {
                (true, false) if is_outer(&right) => (key_for(*left), *right),
                (false, true) if is_outer(&left) => (*left, key_for(*right)),
                _ => (*left, *right),
            };
            left.eq(right)
        }
        part => part,
    });
    let condition = conjunction(parts.collect::<Vec<_>>());
    let Some(condition) = condition.filter(|_| !keys.is_empty()) else {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    };
    let plan = filter_computed(filter.input, keys, condition)?;
    Ok(Transformed::yes(plan))
}

/// Whether the expression is computed from columns of the sub-query alone, and is not itself a column.
fn is_computed(expr: &Expr) -> bool {
    let is_column = matches!(expr, Expr::Column(_));
    !is_column && expr.any_column_refs() && !expr.contains_outer()
}

fn is_outer(expr: &Expr) -> bool {
    expr.contains_outer() && !expr.any_column_refs()
}
