//! [`ConstantConditions`]: the analyzer rule for conditions on constants above an aggregate without GROUP BY, which returns a row even if
//! its input is empty: `HAVING (SELECT max(x) FROM t) > 3`, `LEFT JOIN … ON 2 > 3`, or `z > 3` where `z` is a constant.
//!
//! DataFusion pushes a condition down to the tables if it names no column that the aggregate computes, and the aggregate
//! still returns its row. A limit above the aggregate stops the condition and removes no row.
//!
//! ```text
//! Filter: z > 3                          Filter: z > 3
//!   Projection: 2 AS z                     Projection: 2 AS z
//!     Aggregate: count(*)          ─▶        Limit: 1
//!       TableScan: t                           Aggregate: count(*)
//!                                                TableScan: t
//! ```

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, GroupingSet, Limit, LogicalPlan, Subquery, lit,
};
use datafusion::optimizer::AnalyzerRule;

use super::HasOwnRow;

#[derive(Debug)]
pub(super) struct ConstantConditions {
    pub(super) has_own_row: HasOwnRow,
}

impl AnalyzerRule for ConstantConditions {
    fn name(&self) -> &str {
        "totals"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan
            .transform_up_with_subqueries(|node| self.guarded(node))?
            .data)
    }
}

impl ConstantConditions {
    /// The node with limits below all its conditions.
    fn guarded(&self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let node =
            node.map_expressions(|expr| expr.transform_up(|part| self.guarded_query(part)))?;
        node.transform_data(|node| match node {
            LogicalPlan::Filter(filter) => {
                let input = self.limited(filter.input)?;
                let filter = Filter::try_new(filter.predicate, input)?;
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            LogicalPlan::Join(mut join) => {
                join.left = self.limited(join.left)?;
                join.right = self.limited(join.right)?;
                Ok(Transformed::yes(LogicalPlan::Join(join)))
            }
            node => Ok(Transformed::no(node)),
        })
    }

    /// The expression with limits in its sub-queries that become sides of joins.
    fn guarded_query(&self, expr: Expr) -> Result<Transformed<Expr>> {
        let limited = |query: Subquery| -> Result<Subquery> {
            let plan = self.limited(Arc::clone(&query.subquery))?;
            Ok(query.with_plan(plan))
        };
        Ok(match expr {
            Expr::InSubquery(mut membership) => {
                membership.subquery = limited(membership.subquery)?;
                Transformed::yes(Expr::InSubquery(membership))
            }
            Expr::Exists(mut exists) => {
                exists.subquery = limited(exists.subquery)?;
                Transformed::yes(Expr::Exists(exists))
            }
            Expr::SetComparison(mut comparison) => {
                comparison.subquery = limited(comparison.subquery)?;
                Transformed::yes(Expr::SetComparison(comparison))
            }
            expr => Transformed::no(expr),
        })
    }

    /// The plan with a limit above each node that returns a row without input.
    fn limited(&self, plan: Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
        let plan = Arc::unwrap_or_clone(plan).transform_down(|node| {
            if matches!(node, LogicalPlan::Limit(_)) {
                return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
            }
            // DataFusion adds the outer columns of a correlated sub-query to its groups.
            let is_for_each_row = || !node.all_out_ref_exprs().is_empty();
            if !self.has_row_without_input(&node) || is_for_each_row() {
                return Ok(Transformed::no(node));
            }
            let rows_max = match &node {
                LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => 1,
                _ => i64::MAX,
            };
            let limit = LogicalPlan::Limit(Limit {
                skip: None,
                fetch: Some(Box::new(lit(rows_max))),
                input: Arc::new(node),
            });
            Ok(Transformed::new(limit, true, TreeNodeRecursion::Jump))
        })?;
        Ok(Arc::new(plan.data))
    }

    /// Whether a node returns a row even if its input has none.
    fn has_row_without_input(&self, node: &LogicalPlan) -> bool {
        match node {
            LogicalPlan::Aggregate(aggregate) => is_total(aggregate),
            LogicalPlan::Extension(extension) => (self.has_own_row)(extension.node.as_ref()),
            _ => false,
        }
    }
}

/// Whether an aggregate returns a row for all rows, even if there are none.
pub(super) fn is_total(aggregate: &Aggregate) -> bool {
    aggregate.group_expr.iter().all(has_total)
}

/// Whether one of the groups is the group of all rows.
fn has_total(group: &Expr) -> bool {
    match group {
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => sets.iter().any(Vec::is_empty),
        Expr::GroupingSet(GroupingSet::Rollup(_) | GroupingSet::Cube(_)) => true,
        _ => false,
    }
}
