//! [`OuterColumns`]: where a sub-query may name a column of the query around it.
//!
//! DataFusion makes a join of such a sub-query: the filter that names the column becomes the condition of the join, which
//! is looked at last. A window, a limit or an outer join between the two then sees rows that the filter should have taken
//! away, and an aggregate without groups has no row where there should be one. Such a sub-query is refused.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, JoinType, Result};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, Limit, LogicalPlan, Operator, SkipType,
};
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
                        check(query, Use::Lateral)?;
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
        // Becomes EXISTS.
        Expr::SetComparison(comparison) => (&comparison.subquery, Use::Values),
        Expr::ScalarSubquery(query) => (query, Use::Scalar),
        _ => return Ok(TreeNodeRecursion::Continue),
    };
    check(&query.subquery, of)?;
    Ok(TreeNodeRecursion::Continue)
}

fn check(query: &LogicalPlan, of: Use) -> Result<()> {
    match query.all_out_ref_exprs().is_empty() {
        true => Ok(()),
        false => Way::to(of).check(query),
    }
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
    /// One value for each row around it, also if nothing is found.
    Scalar,
    /// Rows for each row around it.
    Lateral,
}

/// What lies between the top of a sub-query and a node of it.
#[derive(Debug, Clone)]
struct Way<'a> {
    of: Use,
    /// What no filter may be brought up through.
    obstacle: Option<&'static str>,
    /// Nothing that takes rows away, or makes new ones.
    keeps_rows: bool,
    /// Nothing that brings rows together.
    keeps_each: bool,
    condition: Condition,
    windows: Vec<&'a Expr>,
    /// Another input of a node on the way, which is looked at before, names columns of the query around it.
    is_after_outer: bool,
}

/// Which filters lie on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Condition {
    None,
    /// Filters about columns of the sub-query.
    Inner,
    /// One names columns of the query around it.
    Outer,
}

impl<'a> Way<'a> {
    fn to(of: Use) -> Self {
        Self {
            of,
            obstacle: None,
            keeps_rows: true,
            keeps_each: true,
            condition: Condition::None,
            windows: Vec::new(),
            is_after_outer: false,
        }
    }

    fn check(self, node: &'a LogicalPlan) -> Result<()> {
        let outer = outer_column(node)?;
        if let Some(column) = &outer {
            let passes_windows = || self.windows.iter().all(|window| is_apart(window, node));
            match self.obstacle {
                Some(obstacle) => return Err(refused(column, obstacle)),
                None if !passes_windows() => return Err(refused(column, WINDOW)),
                None => {}
            }
        }
        self.check_beside(node)?;
        // The columns of a sub-query in here are those of this one.
        if matches!(node, LogicalPlan::Subquery(_)) {
            return Ok(());
        }
        for (side, input) in node.inputs().into_iter().enumerate() {
            let way = self.clone().through(node, side, outer.is_some())?;
            way.check(input)?;
        }
        Ok(())
    }

    /// What DataFusion changes after it has met a filter that names columns of the query around, wherever that is.
    fn check_beside(&self, node: &LogicalPlan) -> Result<()> {
        let problem = match node {
            _ if !self.is_after_outer => None,
            LogicalPlan::Limit(_) if self.of == Use::Existence => Some("a LIMIT"),
            LogicalPlan::Aggregate(aggregate) if self.of == Use::Lateral => {
                is_total(aggregate).then_some(TOTAL)
            }
            _ => None,
        };
        match problem {
            Some(what) => Err(sql_err(
                SqlState::Unsupported,
                format!(
                    "a sub-query that names columns of the query around it cannot be joined with {what} within; join \
                     the two outside"
                ),
            )),
            None => Ok(()),
        }
    }

    fn through(mut self, node: &'a LogicalPlan, side: usize, has_outer: bool) -> Result<Self> {
        if self.obstacle.is_none() {
            self.obstacle = self.obstacle_at(node, side)?;
        }
        let inputs = node.inputs();
        let has_outer_columns = |input: &&LogicalPlan| !input.all_out_ref_exprs().is_empty();
        self.is_after_outer |= inputs[..side].iter().any(has_outer_columns);
        // Whether there is a row does not depend on a window.
        let is_seen = self.of != Use::Existence || !self.keeps_rows;
        match node {
            LogicalPlan::Window(window) if is_seen => self.windows.extend(&window.window_expr),
            LogicalPlan::Filter(_) if has_outer => self.condition = Condition::Outer,
            LogicalPlan::Filter(_) => self.condition = self.condition.max(Condition::Inner),
            _ => {}
        }
        self.keeps_rows &= matches!(
            node,
            LogicalPlan::Projection(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::Sort(_)
                | LogicalPlan::Window(_)
        );
        self.keeps_each &= !matches!(node, LogicalPlan::Join(_) | LogicalPlan::Aggregate(_));
        Ok(self)
    }

    fn obstacle_at(&self, node: &LogicalPlan, side: usize) -> Result<Option<&'static str>> {
        let is_obstacle = match node {
            LogicalPlan::Sort(sort) => sort.fetch.is_some(),
            LogicalPlan::Limit(limit) => !self.may_pass(limit)?,
            LogicalPlan::Join(join) => !keeps_side(join.join_type, side),
            LogicalPlan::Aggregate(aggregate) if is_total(aggregate) => {
                !(aggregate.group_expr.is_empty() && self.has_row())
            }
            LogicalPlan::Distinct(Distinct::On(_))
            | LogicalPlan::Union(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::RecursiveQuery(_)
            | LogicalPlan::Extension(_) => true,
            _ => false,
        };
        Ok(is_obstacle.then(|| name(node)))
    }

    /// Whether an aggregate of all rows has its row here also if nothing is found.
    fn has_row(&self) -> bool {
        let condition_max = match self.of {
            Use::Existence | Use::Values => return false,
            Use::Scalar => Condition::Inner,
            Use::Lateral => Condition::None,
        };
        self.keeps_each && self.condition <= condition_max
    }

    /// Whether there is a row does not depend on a limit.
    fn may_pass(&self, limit: &Limit) -> Result<bool> {
        let skips = !matches!(limit.get_skip_type()?, SkipType::Literal(0));
        Ok(self.of == Use::Existence && self.keeps_rows && !skips)
    }
}

const WINDOW: &str = "a window function";
const TOTAL: &str = "an aggregate without GROUP BY";

fn refused(column: &Column, obstacle: &str) -> DataFusionError {
    sql_err(
        SqlState::Unsupported,
        format!(
            "a sub-query names column \"{}\" of the query around it below {obstacle}, which is not supported; join the \
             two instead",
            column.name
        ),
    )
}

/// Whether rows that a filter keeps and rows that it takes away are never in one partition of a window: each condition
/// about the query around it compares a column by which the window is partitioned.
fn is_apart(window: &Expr, node: &LogicalPlan) -> bool {
    let (Expr::WindowFunction(call), LogicalPlan::Filter(filter)) = (window, node) else {
        return false;
    };
    let partitions = &call.params.partition_by;
    let is_key = |one: &Expr, other: &Expr| {
        partitions.contains(one) && matches!(one, Expr::Column(_)) && !other.any_column_refs()
    };
    let mut parts = split_conjunction(&filter.predicate).into_iter();
    parts.all(|part| match part {
        part if !part.contains_outer() => true,
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if *op == Operator::Eq => {
            is_key(left, right) || is_key(right, left)
        }
        _ => false,
    })
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
        LogicalPlan::Aggregate(_) => TOTAL,
        LogicalPlan::Distinct(_) => "DISTINCT ON",
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
