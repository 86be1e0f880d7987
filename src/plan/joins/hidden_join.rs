//! [`HidingRule`]: a wrapper for a rule of DataFusion. It hides operators for which the rule would make wrong plans.
//!
//! ```text
//! ProjectionExec: expr=[n, id]          ProjectionExec: expr=[n, id]
//!   SortMergeJoinExec: filter=k > id  →   HiddenJoinExec                            while the rule runs; then it is removed
//!                                           SortMergeJoinExec: filter=k > id
//! ```
//! [`keeps_projections`]: DataFusion 55 moves a projection below a sort-merge join but does not renumber the columns of the
//! join condition (apache/datafusion#24414, #24593), so the condition reads other columns, or none. See
//! `docs/decisions/0017-joins-on-a-cluster.md`.
//!
//! [`keeps_limits`]: DataFusion moves the limit of an ORDER BY below a sort-merge join whose rows come in that order, to both
//! sides of the join. This drops rows that would have been joined.
//!
//! [`keeps_conditions`]: DataFusion pushes conditions to the wrong side of a hash join whose sides share a column name.
//!
//! [`sorts_again`]: DataFusion's check of plans refuses an order that depends on a column that was pruned.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::{HashJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, StatisticsArgs,
};

use crate::error::{Result, SqlState, sql_err};
use crate::plan::display::write_name;
use crate::plan::one_input::one_input;

pub(crate) type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// A rule, and the operators that are hidden from it.
#[derive(Debug)]
pub(crate) struct HidingRule {
    rule: Rule,
    hides: fn(&dyn ExecutionPlan) -> bool,
    /// Whether the order of the rows of these operators is hidden too.
    hides_order: bool,
}

/// A rule that moves no sort with a limit below a sort-merge join.
pub(crate) fn keeps_limits(rule: Rule) -> Rule {
    Arc::new(HidingRule {
        rule,
        hides: |exec| exec.downcast_ref::<SortMergeJoinExec>().is_some(),
        hides_order: false,
    })
}

/// A rule that leaves projections above sort-merge joins, unless the join has no condition and returns both sides.
pub(crate) fn keeps_projections(rule: Rule) -> Rule {
    Arc::new(HidingRule {
        rule,
        hides: renumbers_columns,
        hides_order: false,
    })
}

/// A rule that pushes no condition of other operators below a hash join whose sides share a column name, because DataFusion
/// confuses the two columns. A dynamic filter of another join is such a condition too; it reaches a scan sooner or later,
/// so that rows are missing only sometimes.
pub(crate) fn keeps_conditions(rule: Rule) -> Rule {
    Arc::new(HidingRule {
        rule,
        hides: shares_names,
        hides_order: false,
    })
}

fn shares_names(exec: &dyn ExecutionPlan) -> bool {
    let Some(join) = exec.downcast_ref::<HashJoinExec>() else {
        return false;
    };
    let right = join.right().schema();
    let left = join.left().schema();
    let mut names = left.fields().iter().map(|field| field.name());
    names.any(|name| right.column_with_name(name).is_some())
}

/// A rule that does not rely on the order of a sort-merge join if only some of the equal columns are nullable: for example a
/// series, which is never NULL, and a column joined with it. For the series, NULLS LAST and NULLS FIRST are the same order;
/// once it is pruned, DataFusion's check sees two orders of the other column. A key with NULLS LAST is not trusted either.
pub(crate) fn sorts_again(rule: Rule) -> Rule {
    hides_order(rule, |exec| {
        let is_join = exec.downcast_ref::<SortMergeJoinExec>().is_some();
        let order = exec.properties().output_ordering();
        is_join && order.is_some_and(|order| order.iter().any(|key| is_unsure(exec, key)))
    })
}

fn is_unsure(exec: &dyn ExecutionPlan, key: &PhysicalSortExpr) -> bool {
    let schema = exec.schema();
    let known = exec.properties().equivalence_properties();
    let equal = known.eq_group().get_equivalence_class(&key.expr);
    let is_nullable = |expr: &Arc<dyn PhysicalExpr>| expr.nullable(&schema).unwrap_or(true);
    let mixes = equal.is_some_and(|equal| {
        let nullable = equal.iter().filter(|expr| is_nullable(expr)).count();
        nullable > 0 && nullable < equal.len()
    });
    mixes || !key.options.nulls_first
}

/// A rule that does not rely on the order of the rows of these operators.
pub(crate) fn hides_order(rule: Rule, hides: fn(&dyn ExecutionPlan) -> bool) -> Rule {
    Arc::new(HidingRule {
        rule,
        hides,
        hides_order: true,
    })
}

/// Whether DataFusion may break this join when it moves a projection below the join. A join condition keeps the old numbers
/// of its columns, and so reads other columns. If the join returns one side only, or a mark, DataFusion counts its columns
/// as if both sides were there.
fn renumbers_columns(exec: &dyn ExecutionPlan) -> bool {
    let Some(join) = exec.downcast_ref::<SortMergeJoinExec>() else {
        return false;
    };
    let has_both_sides = match join.join_type() {
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => true,
        JoinType::LeftSemi
        | JoinType::RightSemi
        | JoinType::LeftAnti
        | JoinType::RightAnti
        | JoinType::LeftMark
        | JoinType::RightMark => false,
    };
    join.filter().is_some() || !has_both_sides
}

impl PhysicalOptimizerRule for HidingRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let hidden = plan.transform_up(|exec| match (self.hides)(exec.as_ref()) {
            true => Ok(Transformed::yes(HiddenJoinExec::over(
                exec,
                self.hides_order,
            ))),
            false => Ok(Transformed::no(exec)),
        })?;
        let plan = self.rule.optimize(hidden.data, options)?;
        let lifted = plan.transform_up(|exec| match exec.downcast_ref::<HiddenJoinExec>() {
            Some(hidden) => Ok(Transformed::yes(Arc::clone(&hidden.input))),
            None => Ok(Transformed::no(exec)),
        })?;
        Ok(lifted.data)
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// Hides an operator while a rule runs.
#[derive(Debug)]
struct HiddenJoinExec {
    input: Arc<dyn ExecutionPlan>,
    hides_order: bool,
    properties: Arc<PlanProperties>,
}

impl HiddenJoinExec {
    fn over(input: Arc<dyn ExecutionPlan>, hides_order: bool) -> Arc<dyn ExecutionPlan> {
        let mut properties = PlanProperties::clone(input.properties());
        if hides_order {
            let mut unordered = input.equivalence_properties().clone();
            unordered.clear_orderings();
            properties.set_eq_properties(unordered);
        }
        Arc::new(Self {
            input,
            hides_order,
            properties: Arc::new(properties),
        })
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Self::over(input, self.hides_order))
    }
}

impl DisplayAs for HiddenJoinExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, format, "HiddenJoinExec")
    }
}

impl ExecutionPlan for HiddenJoinExec {
    fn name(&self) -> &'static str {
        "HiddenJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// No requirement or knowledge of an order passes through.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    one_input!();

    fn execute(
        &self,
        _partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let message = "an operator for planning only was left in a plan";
        Err(sql_err(SqlState::Internal, message))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }
}
