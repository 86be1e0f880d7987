//! [`sound_orders`]: what is known of the rows of joins and of grouping sets, as far as it holds.
//!
//! DataFusion 55 believes three things that are not so:
//!
//! * A join that streams one side in order `a`, beside another in order `b`, gives rows by `a, b`. With two rows of one `a` it
//!   does not: each has its own partners, by `b`.
//! * What is constant or equal in one side is so in the join. Rows without a partner have NULL there.
//! * What is constant, equal or ordered below grouping sets is so above them. Rows of a set have NULL in the keys of the others,
//!   and each row that is read gives one to each set.
//!
//! Above such an operator a sort is left out, a key of a window or a sort is dropped, and groups are taken for whole that are not.
//! [`KnownOrderExec`] stands above it and says what holds; below grouping sets it says that rows come in no order.
//!
//! ```text
//! AggregateExec: gby=[a, b], ordering_mode=Sorted       AggregateExec: gby=[a, b], ordering_mode=PartiallySorted([0])
//!   SortMergeJoinExec: join_type=Right             ─▶     KnownOrderExec
//!                                                           SortMergeJoinExec: join_type=Right
//! ```

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::equivalence::{EquivalenceClass, EquivalenceGroup};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, replace_children_if_necessary,
};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::plan::extension::{PlanExtension, from_wire, to_wire};
use crate::plan::joins::veil::Rule;

/// A rule that meets requirements, and relies on no order that does not hold.
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
        // What operators say shows once the rule has sorted their inputs. Each time it begins with the plan as it was: what it
        // has moved because of a wrong order, such as a limit, would not come back.
        let mut wrong = HashSet::new();
        loop {
            let corrected = with_corrections(&plan, &mut 0, &wrong)?;
            let optimized = self.0.optimize(corrected, options)?;
            let known = wrong.len();
            add_wrong(&optimized, &mut 0, false, &mut wrong)?;
            if wrong.len() == known {
                return Ok(optimized);
            }
        }
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// The plan with a [`KnownOrderExec`] above each operator whose number is in `wrong`. `number` counts the joins and the grouping
/// sets, the root first; no rule that meets requirements changes their sequence.
fn with_corrections(
    exec: &Arc<dyn ExecutionPlan>,
    number: &mut usize,
    wrong: &HashSet<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let columns = Columns::of(exec.as_ref());
    let is_wrong = columns.is_some() && wrong.contains(number);
    *number += usize::from(columns.is_some());
    let has_sets = columns.is_some() && exec.is::<AggregateExec>();
    let children = exec.children().into_iter().map(|child| {
        let child = with_corrections(child, number, wrong)?;
        match is_wrong && has_sets {
            true => {
                let columns = Columns::unordered(child.schema().fields().len());
                KnownOrderExec::above(child, columns)
            }
            false => Ok(child),
        }
    });
    let children = children.collect::<Result<Vec<_>>>()?;
    let exec = replace_children_if_necessary(Arc::clone(exec), children)?;
    match columns.filter(|_| is_wrong) {
        Some(columns) => KnownOrderExec::above(exec, columns),
        None => Ok(exec),
    }
}

/// Adds the numbers of the operators that say more than holds and have none above them that says less.
fn add_wrong(
    exec: &Arc<dyn ExecutionPlan>,
    number: &mut usize,
    is_corrected: bool,
    wrong: &mut HashSet<usize>,
) -> Result<()> {
    if let Some(columns) = Columns::of(exec.as_ref()) {
        if !is_corrected && columns.are_said_to_be_more(exec.as_ref())? {
            wrong.insert(*number);
        }
        *number += 1;
    }
    let corrects = exec.is::<KnownOrderExec>();
    let mut children = exec.children().into_iter();
    children.try_for_each(|child| add_wrong(child, number, corrects, wrong))
}

/// What an operator does to its columns.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Columns {
    /// Of each column whether rows come in its order if those of the input do.
    in_order: Vec<bool>,
    /// Of each column whether rows may have NULL there that the input does not have; columns of one number are NULL together.
    nulled: Vec<Option<usize>>,
}

impl Columns {
    /// Those of a join that gives both of its sides, or of grouping sets.
    fn of(exec: &dyn ExecutionPlan) -> Option<Self> {
        let (join_type, projection) = if let Some(join) = exec.downcast_ref::<SortMergeJoinExec>() {
            (join.join_type(), None)
        } else if let Some(join) = exec.downcast_ref::<HashJoinExec>() {
            (*join.join_type(), join.projection.as_deref())
        } else if let Some(join) = exec.downcast_ref::<NestedLoopJoinExec>() {
            (*join.join_type(), join.projection().as_deref())
        } else {
            let aggregate = exec.downcast_ref::<AggregateExec>()?;
            return Self::of_grouping_sets(aggregate);
        };
        let (nulls_left, nulls_right) = match join_type {
            JoinType::Inner => (None, None),
            JoinType::Left => (None, Some(1)),
            JoinType::Right => (Some(0), None),
            JoinType::Full => (Some(0), Some(1)),
            JoinType::LeftSemi
            | JoinType::RightSemi
            | JoinType::LeftAnti
            | JoinType::RightAnti
            | JoinType::LeftMark
            | JoinType::RightMark => return None,
        };
        let [left, right] = exec.children()[..] else {
            return None;
        };
        let keeps_order = exec.maintains_input_order();
        let [keeps_left, keeps_right] = keeps_order[..] else {
            return None;
        };
        let left = left.schema().fields().len();
        let both = left + right.schema().fields().len();
        let given: Vec<usize> = match projection {
            Some(projection) => projection.to_vec(),
            None => (0..both).collect(),
        };
        let is_left = given.iter().map(|&column| column < left);
        let (in_order, nulled) = is_left
            .map(|is_left| match is_left {
                true => (keeps_left, nulls_left),
                false => (keeps_right, nulls_right),
            })
            .unzip();
        Some(Self { in_order, nulled })
    }

    /// Those of an aggregate that makes rows of each set.
    fn of_grouping_sets(aggregate: &AggregateExec) -> Option<Self> {
        let groups = aggregate.group_expr();
        if !groups.has_grouping_set() {
            return None;
        }
        // Keys that stand in the same sets are NULL together.
        let mut patterns = Vec::new();
        let keys = (0..groups.expr().len()).map(|key| {
            let is_null: Vec<bool> = groups.groups().iter().map(|set| set[key]).collect();
            if !is_null.contains(&true) {
                return None;
            }
            let known = patterns.iter().position(|pattern| *pattern == is_null);
            Some(known.unwrap_or_else(|| {
                patterns.push(is_null);
                patterns.len() - 1
            }))
        });
        let mut nulled: Vec<Option<usize>> = keys.collect();
        let count = aggregate.schema().fields().len();
        nulled.resize(count, None);
        Some(Self {
            in_order: vec![false; count],
            nulled,
        })
    }

    /// Those of an operator that gives its rows in no order that it tells.
    fn unordered(count: usize) -> Self {
        Self {
            in_order: vec![false; count],
            nulled: vec![None; count],
        }
    }

    /// Whether an operator says more of its rows than holds.
    fn are_said_to_be_more(&self, exec: &dyn ExecutionPlan) -> Result<bool> {
        let said = exec.properties().equivalence_properties();
        let mut constants = said.constants().into_iter();
        if constants.any(|constant| self.nulls(&constant.expr) != Nulls::None) {
            return Ok(true);
        }
        let mut equal = said.eq_group().iter();
        let holds = |classes: &BTreeMap<Nulls, _>| {
            classes.len() <= 1 && !classes.contains_key(&Nulls::Unlike)
        };
        if equal.any(|equal| !holds(&self.by_nulls(equal))) {
            return Ok(true);
        }
        let sound = self.sound(said)?;
        for order in said.oeq_class().iter() {
            if !sound.ordering_satisfy(order.iter().cloned())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What holds of what an operator says.
    fn sound(&self, said: &EquivalenceProperties) -> Result<EquivalenceProperties> {
        let group = said.eq_group();
        // An inner join makes the keys of both sides one, and may name that of the other.
        let is_kept = |expr: &Arc<dyn PhysicalExpr>| {
            let equal = group.get_equivalence_class(expr);
            self.is_in_order(expr)
                || equal.is_some_and(|equal| equal.iter().any(|expr| self.is_in_order(expr)))
        };
        let orders = said.oeq_class().iter().filter_map(|order| {
            let kept = order.iter().take_while(|key| is_kept(&key.expr));
            LexOrdering::new(kept.cloned())
        });
        let orders: Vec<LexOrdering> = orders.collect();
        let classes = group.iter().flat_map(|equal| {
            let classes = self.by_nulls(equal).into_iter();
            let sound = classes.filter(|(nulls, exprs)| *nulls != Nulls::Unlike && exprs.len() > 1);
            sound.map(|(_, exprs)| EquivalenceClass::new(exprs))
        });
        let constants = said.constants().into_iter();
        let constants = constants.filter(|constant| self.nulls(&constant.expr) == Nulls::None);
        let mut sound = EquivalenceProperties::new(Arc::clone(said.schema()));
        sound.add_equivalence_group(EquivalenceGroup::new(classes))?;
        sound.add_constants(constants)?;
        sound.add_orderings(orders);
        Ok(sound)
    }

    /// What is equal in the input, by the rows in which it is NULL.
    fn by_nulls(&self, equal: &EquivalenceClass) -> BTreeMap<Nulls, Vec<Arc<dyn PhysicalExpr>>> {
        let mut classes = BTreeMap::<_, Vec<_>>::new();
        for expr in equal.iter() {
            classes
                .entry(self.nulls(expr))
                .or_default()
                .push(Arc::clone(expr));
        }
        classes
    }

    fn nulls(&self, expr: &Arc<dyn PhysicalExpr>) -> Nulls {
        let is_column = expr.is::<Column>();
        let columns = collect_columns(expr);
        let mut nulled = columns
            .iter()
            .filter_map(|column| self.nulled.get(column.index()).copied().flatten());
        match nulled.next() {
            None => Nulls::None,
            Some(together) if is_column => Nulls::Together(together),
            Some(_) => Nulls::Unlike,
        }
    }

    fn is_in_order(&self, expr: &Arc<dyn PhysicalExpr>) -> bool {
        let columns = collect_columns(expr);
        let is_in_order = |column: &Column| self.in_order.get(column.index()) == Some(&true);
        !columns.is_empty() && columns.iter().all(is_in_order)
    }
}

/// In which of an operator's rows an expression has a NULL that its input does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nulls {
    None,
    /// A column, in the rows in which others of its number are NULL.
    Together(usize),
    /// An expression of such columns, like `coalesce(x, 0)`: it may be NULL in these rows, or something else.
    Unlike,
}

/// Hands on the rows of an operator, and says what is known of them.
#[derive(Debug)]
struct KnownOrderExec {
    input: Arc<dyn ExecutionPlan>,
    columns: Columns,
    properties: Arc<PlanProperties>,
}

impl KnownOrderExec {
    fn above(input: Arc<dyn ExecutionPlan>, columns: Columns) -> Result<Arc<dyn ExecutionPlan>> {
        let mut properties = PlanProperties::clone(input.properties());
        let sound = columns.sound(properties.equivalence_properties())?;
        properties.set_eq_properties(sound);
        Ok(Arc::new(Self {
            input,
            columns,
            properties: Arc::new(properties),
        }))
    }
}

impl DisplayAs for KnownOrderExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownOrderExec")
    }
}

impl ExecutionPlan for KnownOrderExec {
    fn name(&self) -> &'static str {
        "KnownOrderExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// What is asked of the order above is not to be asked of the operator below.
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
        Self::above(children.swap_remove(0), self.columns.clone())
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

/// [`KnownOrderExec`] in the list of extensions.
#[derive(Debug)]
pub(crate) struct KnownOrder;

impl PlanExtension for KnownOrder {
    fn name(&self) -> &'static str {
        "known_order"
    }

    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
        let exec = exec.downcast_ref::<KnownOrderExec>()?;
        Some(to_wire(&exec.columns))
    }

    fn decode_exec(
        &self,
        bytes: &[u8],
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        KnownOrderExec::above(input, from_wire(bytes)?)
    }
}
