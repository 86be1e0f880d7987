//! [`OuterColumns`]: where a sub-query may name a column of the query around it.
//!
//! DataFusion makes a join of such a sub-query: the filter that names the column becomes the condition of the join, which
//! is looked at last. A window, a limit or an outer join between the two then sees rows that the filter should have taken
//! away, and an aggregate without groups has no row where there should be one. Such a sub-query is refused.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, Result};
use datafusion::logical_expr::{Distinct, Expr, Limit, LogicalPlan, SkipType};
use datafusion::optimizer::AnalyzerRule;

use super::totals::is_total;
use crate::error::{SqlState, sql_err};

#[derive(Debug)]
pub(super) struct OuterColumns;

impl AnalyzerRule for OuterColumns {
    fn name(&self) -> &str {
        "outer_columns"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(check_expression)?;
                Ok(TreeNodeRecursion::Continue)
            })?;
            if let LogicalPlan::Join(join) = node {
                for side in [&join.left, &join.right] {
                    if let Some(query) = lateral(side) {
                        Way::to(Use::Row).check(query)?;
                    }
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }
}

fn check_expression(expr: &Expr) -> Result<TreeNodeRecursion> {
    let (query, of) = match expr {
        Expr::Exists(exists) => (&exists.subquery, Use::Existence),
        Expr::InSubquery(membership) => (&membership.subquery, Use::Values),
        Expr::ScalarSubquery(query) => (query, Use::Row),
        _ => return Ok(TreeNodeRecursion::Continue),
    };
    Way::to(of).check(&query.subquery)?;
    Ok(TreeNodeRecursion::Continue)
}

/// The query of a LATERAL join's side.
fn lateral(side: &LogicalPlan) -> Option<&LogicalPlan> {
    match side {
        LogicalPlan::Subquery(query) => Some(&query.subquery),
        LogicalPlan::SubqueryAlias(alias) => lateral(&alias.input),
        LogicalPlan::Projection(projection) => lateral(&projection.input),
        _ => None,
    }
}

/// What a sub-query is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Use {
    Existence,
    Values,
    /// A row for each row around it, also if nothing is found: scalar and LATERAL sub-queries.
    Row,
}

/// What lies between the top of a sub-query and a node of it.
#[derive(Debug, Clone, Copy)]
struct Way {
    of: Use,
    /// What no filter may be brought up through.
    obstacle: Option<&'static str>,
    /// Nothing that takes rows away, or makes new ones.
    keeps_rows: bool,
    /// Nothing that brings rows together.
    keeps_each: bool,
}

impl Way {
    fn to(of: Use) -> Self {
        Self {
            of,
            obstacle: None,
            keeps_rows: true,
            keeps_each: true,
        }
    }

    fn check(self, node: &LogicalPlan) -> Result<()> {
        if let Some(obstacle) = self.obstacle
            && let Some(column) = outer_column(node)?
        {
            return Err(sql_err(
                SqlState::Unsupported,
                format!(
                    "a sub-query names column \"{}\" of the query around it below {obstacle}, which is not supported; \
                     join the two instead",
                    column.name
                ),
            ));
        }
        // The columns of a sub-query in here are those of this one.
        if matches!(node, LogicalPlan::Subquery(_)) {
            return Ok(());
        }
        for (side, input) in node.inputs().into_iter().enumerate() {
            self.through(node, side)?.check(input)?;
        }
        Ok(())
    }

    fn through(self, node: &LogicalPlan, side: usize) -> Result<Self> {
        let is_name = matches!(
            node,
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Sort(_)
        );
        let brings_together = matches!(node, LogicalPlan::Join(_) | LogicalPlan::Aggregate(_));
        Ok(Self {
            obstacle: self.obstacle.or(self.obstacle_at(node, side)?),
            keeps_rows: self.keeps_rows && is_name,
            keeps_each: self.keeps_each && !brings_together,
            ..self
        })
    }

    fn obstacle_at(self, node: &LogicalPlan, side: usize) -> Result<Option<&'static str>> {
        let is_obstacle = match node {
            LogicalPlan::Sort(sort) => sort.fetch.is_some(),
            LogicalPlan::Limit(limit) => !self.may_pass(limit)?,
            LogicalPlan::Join(join) => !keeps_side(join.join_type, side),
            LogicalPlan::Aggregate(aggregate) if is_total(aggregate) => {
                let is_row = self.of == Use::Row && self.keeps_each;
                !(is_row && aggregate.group_expr.is_empty())
            }
            LogicalPlan::Distinct(Distinct::On(_))
            | LogicalPlan::Window(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::RecursiveQuery(_)
            | LogicalPlan::Extension(_) => true,
            _ => false,
        };
        Ok(is_obstacle.then(|| name(node)))
    }

    /// Whether there is a row does not depend on a limit.
    fn may_pass(self, limit: &Limit) -> Result<bool> {
        let skips = !matches!(limit.get_skip_type()?, SkipType::Literal(0));
        Ok(self.of == Use::Existence && self.keeps_rows && !skips)
    }
}

/// Whether a row of this side that a filter takes away would be in no row of the join.
fn keeps_side(join: JoinType, side: usize) -> bool {
    let is_left = side == 0;
    match join {
        JoinType::Inner => true,
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => is_left,
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            !is_left
        }
        JoinType::Full => false,
    }
}

fn name(node: &LogicalPlan) -> &'static str {
    match node {
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => "a LIMIT",
        LogicalPlan::Join(_) => "the optional side of a join",
        LogicalPlan::Aggregate(_) => "an aggregate without GROUP BY",
        LogicalPlan::Distinct(_) => "DISTINCT ON",
        LogicalPlan::Window(_) => "a window function",
        LogicalPlan::Union(_) => "UNION",
        LogicalPlan::Unnest(_) => "unnest",
        LogicalPlan::RecursiveQuery(_) => "WITH RECURSIVE",
        _ => "a table function",
    }
}

/// A column of the query around a sub-query that this node of it names.
fn outer_column(node: &LogicalPlan) -> Result<Option<Column>> {
    let mut found = None;
    node.apply_expressions(|expr| {
        expr.apply(|part| {
            if let Expr::OuterReferenceColumn(_, column) = part {
                found.get_or_insert_with(|| column.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}
