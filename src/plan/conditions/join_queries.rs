//! [`JoinQueries`]: the analyzer rule that moves sub-queries out of join conditions. DataFusion plans sub-queries in filters
//! and projections only, so each sub-query moves to a place where it has the same meaning:
//!
//! * from an inner join to a filter above the join,
//! * from an outer join to a filter of the optional side, if the condition uses columns of that side alone,
//! * otherwise to a column of the left side, if the sub-query is scalar and has one value for all rows.
//!
//! Other sub-queries in join conditions are refused.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan, Projection};
use datafusion::optimizer::AnalyzerRule;

use crate::error::{SqlState, sql_err};

#[derive(Debug)]
pub(super) struct JoinQueries;

impl AnalyzerRule for JoinQueries {
    fn name(&self) -> &str {
        "join_queries"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Join(join) if join.filter.as_ref().is_some_and(has_query) => {
                Ok(Transformed::yes(joined(join)?))
            }
            node => Ok(Transformed::no(node)),
        })?;
        Ok(plan.data)
    }
}

fn has_query(expr: &Expr) -> bool {
    let found = expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
        ))
    });
    found.expect("nothing in here fails")
}

fn joined(mut join: Join) -> Result<LogicalPlan> {
    let parts = join.filter.take().map(split_conjunction_owned);
    let (queries, mut others): (Vec<_>, Vec<_>) = parts.into_iter().flatten().partition(has_query);
    if join.join_type == JoinType::Inner {
        join.filter = conjunction(others);
        return filtered(queries, Arc::new(LogicalPlan::Join(join)));
    }
    let side = optional_side(&mut join);
    let (of_side, of_both): (Vec<_>, Vec<_>) = queries
        .into_iter()
        .partition(|part| side.as_ref().is_some_and(|side| is_of(part, side.schema())));
    if let Some(side) = side {
        *side = Arc::new(filtered(of_side, Arc::clone(side))?);
    }
    others.extend(of_both);
    join.filter = conjunction(others);
    with_values(join)
}

/// The side whose rows do not appear in the result if they fail the join condition.
fn optional_side(join: &mut Join) -> Option<&mut Arc<LogicalPlan>> {
    match join.join_type {
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => Some(&mut join.right),
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => Some(&mut join.left),
        JoinType::Inner | JoinType::Full | JoinType::LeftMark | JoinType::RightMark => None,
    }
}

/// Whether a condition, with its sub-queries, uses these columns alone.
fn is_of(condition: &Expr, columns: &DFSchema) -> bool {
    let is_other = |outer: &Expr| matches!(outer, Expr::OuterReferenceColumn(_, column) if !columns.has_column(column));
    let found = condition.exists(|part| {
        Ok(match part {
            Expr::Column(column) => !columns.has_column(column),
            Expr::InSubquery(InSubquery { subquery, .. })
            | Expr::Exists(Exists { subquery, .. })
            | Expr::SetComparison(SetComparison { subquery, .. })
            | Expr::ScalarSubquery(subquery) => subquery.outer_ref_columns.iter().any(is_other),
            _ => false,
        })
    });
    !found.expect("nothing in here fails")
}

fn filtered(conditions: Vec<Expr>, input: Arc<LogicalPlan>) -> Result<LogicalPlan> {
    match conjunction(conditions) {
        Some(condition) => Ok(LogicalPlan::Filter(Filter::try_new(condition, input)?)),
        None => Ok(Arc::unwrap_or_clone(input)),
    }
}

/// The join with the scalar sub-queries of its condition computed as columns of the left side.
fn with_values(mut join: Join) -> Result<LogicalPlan> {
    let columns = join.schema.columns();
    let mut values = Vec::new();
    let condition = join.filter.take().map(|condition| {
        condition.transform_up(|part| {
            Ok(match part {
                Expr::ScalarSubquery(query) if query.outer_ref_columns.is_empty() => {
                    let name = format!("__scalar_{}", values.len() + 1);
                    values.push(Expr::ScalarSubquery(query).alias(&name));
                    Transformed::yes(Expr::Column(Column::new_unqualified(name)))
                }
                other => Transformed::no(other),
            })
        })
    });
    join.filter = condition.transpose()?.map(|condition| condition.data);
    if join.filter.as_ref().is_some_and(has_query) {
        return Err(sql_err(
            SqlState::Unsupported,
            "a sub-query in the condition of this join can use columns of the optional side only; compute it in a \
             sub-query of the other side, and name that column",
        ));
    }
    if values.is_empty() {
        return Ok(LogicalPlan::Join(join));
    }
    let left = join.left.schema().columns().into_iter().map(Expr::Column);
    let left = Projection::try_new(left.chain(values).collect(), join.left)?;
    let joined = Join::try_new(
        Arc::new(LogicalPlan::Projection(left)),
        join.right,
        join.on,
        join.filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    let columns = columns.into_iter().map(Expr::Column).collect();
    let projection = Projection::try_new(columns, Arc::new(LogicalPlan::Join(joined)))?;
    Ok(LogicalPlan::Projection(projection))
}
