//! [`Veiled`]: a rule of DataFusion that does not see what it would make wrong plans of.
//!
//! ```text
//! ProjectionExec: expr=[n, id]          ProjectionExec: expr=[n, id]
//!   SortMergeJoinExec: filter=k > id  →   VeilExec                            while the rule looks; then it is gone
//!                                           SortMergeJoinExec: filter=k > id
//! ```
//! [`keeps_projections`]: DataFusion 55 moves a projection below a sort-merge join and leaves the columns of its condition
//! as they were numbered before (apache/datafusion#24414, #24593), so the condition reads other columns, or none. See
//! `docs/decisions/0017-joins-on-a-cluster.md`.
//!
//! [`keeps_limits`]: it also moves the limit of an ORDER BY below a sort-merge join whose rows come in that order, to both
//! sides of it, where rows are left out that would have been joined.
//!
//! [`keeps_conditions`]: it hands conditions to the wrong side of a hash join whose sides share a name.
//!
//! [`sorts_again`]: its check refuses an order that was told by a column that is gone.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
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

pub(crate) type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// A rule, and the operators that it does not see.
#[derive(Debug)]
pub(crate) struct Veiled {
    rule: Rule,
    hides: fn(&dyn ExecutionPlan) -> bool,
    /// Whether the order of their rows is hidden too.
    hides_order: bool,
}

/// A rule that moves no sort with a limit below a sort-merge join.
pub(crate) fn keeps_limits(rule: Rule) -> Rule {
    Arc::new(Veiled {
        rule,
        hides: |exec| exec.downcast_ref::<SortMergeJoinExec>().is_some(),
        hides_order: false,
    })
}

/// A rule that leaves projections above sort-merge joins, unless they have no condition and all columns of both sides.
pub(crate) fn keeps_projections(rule: Rule) -> Rule {
    Arc::new(Veiled {
        rule,
        hides: renumbers_columns,
        hides_order: false,
    })
}

/// A rule that moves no condition of others below a hash join whose sides have a column of one name: it takes the two for
/// each other. What another join has found of its rows while it runs is such a condition too, and is known to a scan
/// sooner or later, so that rows are missing now and then.
pub(crate) fn keeps_conditions(rule: Rule) -> Rule {
    Arc::new(Veiled {
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

/// A rule that does not rely on the order of a sort-merge join whose columns may be NULL or not, though they are equal: such as
/// that of a series, which is never NULL, and one that is joined with it. Of the one, NULLS LAST and NULLS FIRST are the same
/// order. When it is pruned, DataFusion's check of plans takes the two orders of the other for different ones.
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

/// A rule that does not rely on the order of what these operators give.
pub(crate) fn hides_order(rule: Rule, hides: fn(&dyn ExecutionPlan) -> bool) -> Rule {
    Arc::new(Veiled {
        rule,
        hides,
        hides_order: true,
    })
}

/// Whether DataFusion may make this join wrong when it moves a projection below it. If the join has a condition, that
/// keeps the old numbers of its columns, and so reads others. If the join gives one side only, or a mark, DataFusion
/// counts its columns as if both sides were there.
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

impl PhysicalOptimizerRule for Veiled {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let veiled = plan.transform_up(|exec| match (self.hides)(exec.as_ref()) {
            true => Ok(Transformed::yes(VeilExec::over(exec, self.hides_order))),
            false => Ok(Transformed::no(exec)),
        })?;
        let plan = self.rule.optimize(veiled.data, options)?;
        let lifted = plan.transform_up(|exec| match exec.downcast_ref::<VeilExec>() {
            Some(veil) => Ok(Transformed::yes(Arc::clone(&veil.input))),
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

/// Stands above an operator while a rule looks at the plan.
#[derive(Debug)]
struct VeilExec {
    input: Arc<dyn ExecutionPlan>,
    hides_order: bool,
    properties: Arc<PlanProperties>,
}

impl VeilExec {
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
}

impl DisplayAs for VeilExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VeilExec")
    }
}

impl ExecutionPlan for VeilExec {
    fn name(&self) -> &'static str {
        "VeilExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// Nothing that has to do with an order goes through.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(match children.pop() {
            Some(input) => Self::over(input, self.hides_order),
            None => self,
        })
    }

    fn execute(
        &self,
        _partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let message = "an operator that only planning knows was left in a plan";
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
