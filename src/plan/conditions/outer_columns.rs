//! [`OuterColumns`]: the analyzer rule that refuses outer columns in parts of a sub-query that DataFusion plans wrongly.
//!
//! DataFusion turns a correlated sub-query into a join: the filter on the outer column becomes the join condition, which is
//! evaluated last. A window, a limit or an outer join between the two then sees rows that the filter should have removed,
//! and an aggregate without groups returns no row where it should return one. Such a sub-query is refused.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, JoinType, Result};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, Limit, LogicalPlan, Operator, SkipType,
};
use datafusion::optimizer::AnalyzerRule;

use super::constant_conditions::is_total;
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
        // DataFusion rewrites a set comparison into EXISTS.
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

/// What the outer query needs from a sub-query.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Use {
    Existence,
    Values,
    /// One value for each outer row, even if the sub-query finds no row.
    Scalar,
    /// Rows for each outer row.
    Lateral,
}

/// The path from the top of a sub-query to one of its nodes.
#[derive(Debug, Clone)]
struct Way<'a> {
    of: Use,
    /// The operator that no filter may be moved above.
    obstacle: Option<&'static str>,
    /// Whether no operator on the path removes or adds rows.
    keeps_rows: bool,
    /// Whether the path has no join and no aggregate.
    keeps_each: bool,
    condition: Condition,
    windows: Vec<&'a Expr>,
    /// Whether an input that DataFusion visits earlier, of a node on the path, names outer columns.
    is_after_outer: bool,
}

/// Which filters are on the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Condition {
    None,
    /// Filters on columns of the sub-query.
    Inner,
    /// A filter that names outer columns.
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
        // The outer columns of a nested sub-query are columns of this one.
        if matches!(node, LogicalPlan::Subquery(_)) {
            return Ok(());
        }
        for (side, input) in node.inputs().into_iter().enumerate() {
            let way = self.clone().through(node, side, outer.is_some())?;
            way.check(input)?;
        }
        Ok(())
    }

    /// Refuses an operator that DataFusion changes once it has visited a filter on outer columns in another input.
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
                    "a sub-query cannot join a relation that names columns of the query around it with {what}; join \
                     the two outside the sub-query"
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
        // A window does not change whether there is a row.
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

    /// Whether DataFusion gives an aggregate of all rows its row here, even if no row is found.
    fn has_row(&self) -> bool {
        let condition_max = match self.of {
            Use::Existence | Use::Values => return false,
            Use::Scalar => Condition::Inner,
            Use::Lateral => Condition::None,
        };
        self.keeps_each && self.condition <= condition_max
    }

    /// Whether the limit keeps the result of EXISTS: there is a row with and without the limit.
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

/// Whether a filter keeps or removes each partition of a window as a whole: each condition on an outer column compares a
/// partition column of the window.
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

/// Whether a row that a filter removes from this side would be in no row of the join.
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

/// An outer column that this node of a sub-query names.
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
