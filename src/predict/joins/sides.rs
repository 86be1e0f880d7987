//! [`sides`], [`with_side`]: the sides of a join. [`keeps`], [`keeps_each_row`]: which rows of one of them the join keeps. [`rows_of`]: how
//! many rows a plan has, as far as its tables know.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::common::stats::Precision;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Join, LogicalPlan};

use crate::error::Result;
use crate::predict::node::predict_of;

/// The side of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::predict) enum Side {
    Left,
    Right,
}

/// A side of a join, and the other one.
pub(in crate::predict) fn sides(join: &Join, side: Side) -> (&Arc<LogicalPlan>, &Arc<LogicalPlan>) {
    match side {
        Side::Left => (&join.left, &join.right),
        Side::Right => (&join.right, &join.left),
    }
}

/// The same join with another plan on a side.
pub(in crate::predict) fn with_side(join: &Join, side: Side, plan: LogicalPlan) -> Result<Join> {
    let plan = Arc::new(plan);
    let (left, right) = match side {
        Side::Left => (plan, Arc::clone(&join.right)),
        Side::Right => (Arc::clone(&join.left), plan),
    };
    Join::try_new(
        left,
        right,
        join.on.clone(),
        join.filter.clone(),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )
}

/// Which rows of a side a join returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::predict) enum Keeps {
    /// The columns of all rows of the result.
    All,
    /// The columns, or NULL where the other side has a row without partner.
    OrNull,
    /// No columns.
    None,
}

/// What a join keeps of the columns of one of its sides.
pub(in crate::predict) fn keeps(join_type: JoinType, side: Side) -> Keeps {
    let [left, right] = match join_type {
        JoinType::Inner => [Keeps::All, Keeps::All],
        JoinType::Left => [Keeps::All, Keeps::OrNull],
        JoinType::Right => [Keeps::OrNull, Keeps::All],
        JoinType::Full => [Keeps::OrNull, Keeps::OrNull],
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => [Keeps::All, Keeps::None],
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            [Keeps::None, Keeps::All]
        }
    };
    match side {
        Side::Left => left,
        Side::Right => right,
    }
}

/// Whether each row of a side is in the result, once or several times.
pub(in crate::predict) fn keeps_each_row(join_type: JoinType, side: Side) -> bool {
    match side {
        Side::Left => matches!(
            join_type,
            JoinType::Left | JoinType::Full | JoinType::LeftMark
        ),
        Side::Right => matches!(
            join_type,
            JoinType::Right | JoinType::Full | JoinType::RightMark
        ),
    }
}

/// Whether the result has some of the rows of a side, each once.
pub(in crate::predict) fn is_semi_or_anti(join_type: JoinType, side: Side) -> bool {
    match side {
        Side::Left => matches!(join_type, JoinType::LeftSemi | JoinType::LeftAnti),
        Side::Right => matches!(join_type, JoinType::RightSemi | JoinType::RightAnti),
    }
}

/// How many rows a plan has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::predict) struct Rows {
    /// At most.
    pub(in crate::predict) most: usize,
    /// Whether it has so many: nothing leaves rows out.
    pub(in crate::predict) is_count: bool,
}

impl Rows {
    fn or_fewer(self) -> Self {
        Self {
            is_count: false,
            ..self
        }
    }

    fn at_most(self, fetch: Option<usize>) -> Self {
        match fetch {
            None => self,
            Some(fetch) => Self {
                most: self.most.min(fetch),
                is_count: false,
            },
        }
    }
}

/// How many rows a plan has, if its tables know their rows.
pub(in crate::predict) fn rows_of(plan: &LogicalPlan) -> Option<Rows> {
    let counted = |most: usize| Rows {
        most,
        is_count: true,
    };
    match plan {
        LogicalPlan::TableScan(scan) => {
            let table = source_as_provider(&scan.source).ok()?;
            let known = table.statistics()?.num_rows;
            let rows = Rows {
                most: *known.get_value()?,
                is_count: matches!(known, Precision::Exact(_)) && scan.filters.is_empty(),
            };
            Some(rows.at_most(scan.fetch))
        }
        LogicalPlan::Values(values) => Some(counted(values.values.len())),
        LogicalPlan::EmptyRelation(empty) => Some(counted(usize::from(empty.produce_one_row))),
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            rows_of(plan.inputs().first()?)
        }
        LogicalPlan::Sort(sort) => Some(rows_of(&sort.input)?.at_most(sort.fetch)),
        LogicalPlan::Filter(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Distinct(_) => Some(rows_of(plan.inputs().first()?)?.or_fewer()),
        LogicalPlan::Extension(_) => rows_of(&predict_of(plan)?.input),
        LogicalPlan::Join(join) => {
            let (left, right) = (&join.left, &join.right);
            match join.join_type {
                JoinType::Inner => {
                    let (left, right) = (rows_of(left)?, rows_of(right)?);
                    let is_product = join.on.is_empty() && join.filter.is_none();
                    Some(Rows {
                        most: left.most.checked_mul(right.most)?,
                        is_count: is_product && left.is_count && right.is_count,
                    })
                }
                JoinType::LeftSemi | JoinType::LeftAnti => Some(rows_of(left)?.or_fewer()),
                JoinType::RightSemi | JoinType::RightAnti => Some(rows_of(right)?.or_fewer()),
                JoinType::LeftMark => rows_of(left),
                JoinType::RightMark => rows_of(right),
                JoinType::Left | JoinType::Right | JoinType::Full => None,
            }
        }
        _ => None,
    }
}

/// Whether a plan is known to have fewer rows than another one, of which nothing leaves rows out.
pub(in crate::predict) fn has_fewer_rows(plan: &LogicalPlan, other: &LogicalPlan) -> bool {
    match (rows_of(plan), rows_of(other)) {
        (Some(rows), Some(other)) => other.is_count && rows.most < other.most,
        (None, _) | (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};

    use super::*;

    fn values(count: i64) -> LogicalPlanBuilder {
        let rows = (0..count).map(|value| vec![lit(value)]);
        LogicalPlanBuilder::values(rows.collect()).unwrap()
    }

    fn rows(plan: LogicalPlanBuilder) -> Option<(usize, bool)> {
        let rows = rows_of(&plan.build().unwrap())?;
        Some((rows.most, rows.is_count))
    }

    #[test]
    fn rows_are_counted_until_something_leaves_some_out() {
        assert_eq!(rows(values(3)), Some((3, true)));
        let sorted = |fetch| {
            let key = vec![col("column1").sort(true, true)];
            values(3).sort_with_limit(key, fetch).unwrap()
        };
        assert_eq!(rows(sorted(None)), Some((3, true)));
        assert_eq!(rows(sorted(Some(2))), Some((2, false)));
        let filtered = values(3).filter(col("column1").gt(lit(1_i64))).unwrap();
        assert_eq!(rows(filtered), Some((3, false)));
        let both = values(3).alias("a").unwrap();
        let other = values(4).alias("b").unwrap().build().unwrap();
        let both = both.cross_join(other).unwrap();
        assert_eq!(rows(both), Some((12, true)));
    }

    #[test]
    fn what_may_have_fewer_rows_than_its_table_is_compared_to_nothing() {
        let plan = |plan: LogicalPlanBuilder| plan.build().unwrap();
        let filtered = |count| plan(values(count).filter(lit(true)).unwrap());
        assert!(has_fewer_rows(&plan(values(2)), &plan(values(3))));
        assert!(has_fewer_rows(&filtered(2), &plan(values(3))));
        assert!(!has_fewer_rows(&plan(values(2)), &filtered(3)));
        assert!(!has_fewer_rows(&plan(values(3)), &plan(values(3))));
    }
}
