//! [`sound_orders`]: the order in which a join gives its rows, as far as it holds.
//!
//! DataFusion 55 says of a join that streams one side in order `a`, beside another in order `b`, that it gives rows by `a, b`.
//! With two rows of one `a` it does not: each has its own partners, by `b`. Above it a sort is left out, and groups are
//! taken for whole that are not. [`JoinOrderExec`] stands above such a join and says `a`.
//!
//! ```text
//! AggregateExec: gby=[a, b], ordering_mode=Sorted       AggregateExec: gby=[a, b], ordering_mode=PartiallySorted([0])
//!   SortMergeJoinExec: join_type=Right             ─▶     JoinOrderExec
//!                                                           SortMergeJoinExec: join_type=Right
//! ```

use std::fmt;
use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, replace_children_if_necessary,
};

use super::veil::Rule;
use crate::error::Result;
use crate::plan::extension::{PlanExtension, from_wire, to_wire};

/// A rule that meets requirements, and relies on no order of joins that does not hold.
pub(crate) fn sound_orders(rule: Rule) -> Rule {
    Arc::new(SoundOrders(rule))
}

#[derive(Debug)]
struct SoundOrders(Rule);

impl PhysicalOptimizerRule for SoundOrders {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = corrected(&plan, false, &|join, _| Ok(will_say_too_much(join)))?;
        let mut plan = self.0.optimize(plan, options)?;
        // Sorts that come below one join may give another an order. Each round has one join more.
        loop {
            let corrected = corrected(&plan, false, &says_too_much)?;
            if Arc::ptr_eq(&corrected, &plan) {
                return Ok(plan);
            }
            plan = self.0.optimize(corrected, options)?;
        }
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

type Needs<'a> = &'a dyn Fn(&dyn ExecutionPlan, &[bool]) -> Result<bool>;

/// The plan with a [`JoinOrderExec`] above each join that needs one; the root has one already if `is_corrected`.
fn corrected(
    exec: &Arc<dyn ExecutionPlan>,
    is_corrected: bool,
    needs: Needs<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let says_order = exec.downcast_ref::<JoinOrderExec>().is_some();
    let children = exec.children().into_iter();
    let children = children.map(|child| corrected(child, says_order, needs));
    let children = children.collect::<Result<Vec<_>>>()?;
    let exec = replace_children_if_necessary(Arc::clone(exec), children)?;
    match streamed_columns(exec.as_ref()).filter(|_| !is_corrected) {
        Some(streamed) if needs(exec.as_ref(), &streamed)? => {
            Ok(Arc::new(JoinOrderExec::new(exec, streamed)))
        }
        _ => Ok(exec),
    }
}

/// Whether a join says more of its order than holds.
fn says_too_much(join: &dyn ExecutionPlan, streamed: &[bool]) -> Result<bool> {
    let sound = sound_order(join, streamed);
    let said = join.properties().equivalence_properties().oeq_class();
    for order in said.iter() {
        if !sound.ordering_satisfy(order.iter().cloned())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a join will say too much once both of its sides are sorted, as it requires.
fn will_say_too_much(join: &dyn ExecutionPlan) -> bool {
    let join = join.downcast_ref::<SortMergeJoinExec>();
    // An inner join has equal keys, which are in one order.
    join.is_some_and(|join| join.join_type() != JoinType::Inner)
}

/// Of each column of a join whether it comes from the side whose order it keeps; `None` if there is none, or no other.
fn streamed_columns(exec: &dyn ExecutionPlan) -> Option<Vec<bool>> {
    let (join_type, projection) = if let Some(join) = exec.downcast_ref::<SortMergeJoinExec>() {
        (join.join_type(), None)
    } else if let Some(join) = exec.downcast_ref::<HashJoinExec>() {
        (*join.join_type(), join.projection.as_deref())
    } else {
        let join = exec.downcast_ref::<NestedLoopJoinExec>()?;
        (*join.join_type(), join.projection().as_deref())
    };
    let has_both_sides = matches!(
        join_type,
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
    );
    let [left, right] = exec.children()[..] else {
        return None;
    };
    let is_left = match exec.maintains_input_order()[..] {
        [true, false] => true,
        [false, true] => false,
        _ => return None,
    };
    let (left, right) = (left.schema().fields().len(), right.schema().fields().len());
    let columns = (0..left + right).map(|column| (column < left) == is_left);
    let columns: Vec<bool> = columns.collect();
    has_both_sides.then(|| match projection {
        Some(projection) => projection.iter().map(|&column| columns[column]).collect(),
        None => columns,
    })
}

/// What is known of an operator's rows, its orders only as far as they are of these columns.
fn sound_order(exec: &dyn ExecutionPlan, streamed: &[bool]) -> EquivalenceProperties {
    let said = exec.properties().equivalence_properties();
    let is_streamed = |expr: &Arc<dyn PhysicalExpr>| {
        let columns = collect_columns(expr);
        columns
            .iter()
            .all(|column| streamed.get(column.index()) == Some(&true))
    };
    // An inner join makes the keys of both sides one, and may name that of the other.
    let is_kept = |expr: &Arc<dyn PhysicalExpr>| {
        let equal = said.eq_group().get_equivalence_class(expr);
        is_streamed(expr) || equal.is_some_and(|equal| equal.iter().any(is_streamed))
    };
    let orders = said.oeq_class().iter().filter_map(|order| {
        let kept = order.iter().take_while(|key| is_kept(&key.expr));
        LexOrdering::new(kept.cloned())
    });
    let orders: Vec<LexOrdering> = orders.collect();
    let mut sound = said.clone();
    sound.clear_orderings();
    sound.add_orderings(orders);
    sound
}

/// Hands on the rows of a join, and says how they are ordered.
#[derive(Debug)]
struct JoinOrderExec {
    input: Arc<dyn ExecutionPlan>,
    /// Of each column whether it comes from the side whose order the join keeps.
    streamed: Vec<bool>,
    properties: Arc<PlanProperties>,
}

impl JoinOrderExec {
    fn new(input: Arc<dyn ExecutionPlan>, streamed: Vec<bool>) -> Self {
        let mut properties = PlanProperties::clone(input.properties());
        properties.set_eq_properties(sound_order(input.as_ref(), &streamed));
        Self {
            input,
            streamed,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for JoinOrderExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinOrderExec")
    }
}

impl ExecutionPlan for JoinOrderExec {
    fn name(&self) -> &'static str {
        "JoinOrderExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// What is asked of the order above is not to be asked of the join.
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
        let streamed = self.streamed.clone();
        Ok(Arc::new(Self::new(children.swap_remove(0), streamed)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// The order of joins.
#[derive(Debug)]
pub(crate) struct JoinOrder;

impl PlanExtension for JoinOrder {
    fn name(&self) -> &'static str {
        "join_order"
    }

    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
        let exec = exec.downcast_ref::<JoinOrderExec>()?;
        Some(to_wire(&exec.streamed))
    }

    fn decode_exec(
        &self,
        bytes: &[u8],
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(JoinOrderExec::new(input, from_wire(bytes)?)))
    }
}
