//! [`sound_orders`]: corrects what DataFusion knows of the rows of joins and grouping sets.
//!
//! DataFusion 55 makes three wrong assumptions:
//!
//! * A join that streams one side in order `a`, with the other side in order `b`, returns rows in order `a, b`. Two rows of the
//!   same `a` break this order: each has its own partners, in order `b`.
//! * Columns that are constant or equal in one side are so in the join. Rows without a partner have NULL there.
//! * Columns that are constant, equal or ordered below grouping sets are so above them. Rows of a set have NULL in the keys of
//!   the other sets, and each input row contributes to each set.
//!
//! Above such an operator DataFusion drops a sort or a key of a sort or window, or takes incomplete groups for complete.
//! [`KnownOrderExec`] above the operator declares what holds; below grouping sets it declares that rows come in no order.
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
use crate::plan::display::write_name;
use crate::plan::extension::{PlanExtension, from_wire, only_input, to_wire};
use crate::plan::joins::hidden_join::Rule;
use crate::plan::one_input::one_input;

/// A rule that enforces requirements, wrapped so that it relies on no order that does not hold.
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
        // The properties of operators are known only after the rule has sorted their inputs. Each round starts from the
        // original plan, because changes that follow from a wrong order, such as a moved limit, cannot be undone.
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

/// The plan with a [`KnownOrderExec`] above each operator whose number is in `wrong`. `number` counts the joins and the
/// grouping sets from the root; a rule that enforces requirements does not change their sequence.
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

/// Adds the numbers of the operators that declare more than holds and have no correction above them.
fn add_wrong(
    exec: &Arc<dyn ExecutionPlan>,
    number: &mut usize,
    is_corrected: bool,
    wrong: &mut HashSet<usize>,
) -> Result<()> {
    if let Some(columns) = Columns::of(exec.as_ref()) {
        if !is_corrected && columns.overclaims(exec.as_ref())? {
            wrong.insert(*number);
        }
        *number += 1;
    }
    let corrects = exec.is::<KnownOrderExec>();
    let mut children = exec.children().into_iter();
    children.try_for_each(|child| add_wrong(child, number, corrects, wrong))
}

/// The effect of an operator on its output columns.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Columns {
    /// For each column: whether the operator keeps the order of its input by this column.
    in_order: Vec<bool>,
    /// For each column: whether it may have NULLs that the input does not have. Columns with one number are NULL together.
    nulled: Vec<Option<usize>>,
}

impl Columns {
    /// The effect of a join that returns both sides, or of grouping sets; `None` for other operators.
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

    /// The effect of an aggregate with grouping sets.
    fn of_grouping_sets(aggregate: &AggregateExec) -> Option<Self> {
        let groups = aggregate.group_expr();
        if !groups.has_grouping_set() {
            return None;
        }
        // Keys that are in the same sets are NULL together.
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

    /// The effect of an operator that declares no order.
    fn unordered(count: usize) -> Self {
        Self {
            in_order: vec![false; count],
            nulled: vec![None; count],
        }
    }

    /// Whether an operator declares more about its rows than holds.
    fn overclaims(&self, exec: &dyn ExecutionPlan) -> Result<bool> {
        let claimed = exec.properties().equivalence_properties();
        let mut constants = claimed.constants().into_iter();
        if constants.any(|constant| self.nulls(&constant.expr) != Nulls::None) {
            return Ok(true);
        }
        let mut equal = claimed.eq_group().iter();
        let holds = |classes: &BTreeMap<Nulls, _>| {
            classes.len() <= 1 && !classes.contains_key(&Nulls::Unlike)
        };
        if equal.any(|equal| !holds(&self.by_nulls(equal))) {
            return Ok(true);
        }
        let sound = self.sound(claimed)?;
        for order in claimed.oeq_class().iter() {
            if !sound.ordering_satisfy(order.iter().cloned())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The part of an operator's declared properties that holds.
    fn sound(&self, claimed: &EquivalenceProperties) -> Result<EquivalenceProperties> {
        let group = claimed.eq_group();
        // An inner join makes the keys of both sides equal, and its order may name the key of the other side.
        let is_kept = |expr: &Arc<dyn PhysicalExpr>| {
            let equal = group.get_equivalence_class(expr);
            self.is_in_order(expr)
                || equal.is_some_and(|equal| equal.iter().any(|expr| self.is_in_order(expr)))
        };
        let orders = claimed.oeq_class().iter().filter_map(|order| {
            let kept = order.iter().take_while(|key| is_kept(&key.expr));
            LexOrdering::new(kept.cloned())
        });
        let orders: Vec<LexOrdering> = orders.collect();
        let classes = group.iter().flat_map(|equal| {
            let classes = self.by_nulls(equal).into_iter();
            let sound = classes.filter(|(nulls, exprs)| *nulls != Nulls::Unlike && exprs.len() > 1);
            sound.map(|(_, exprs)| EquivalenceClass::new(exprs))
        });
        let constants = claimed.constants().into_iter();
        let constants = constants.filter(|constant| self.nulls(&constant.expr) == Nulls::None);
        let mut sound = EquivalenceProperties::new(Arc::clone(claimed.schema()));
        sound.add_equivalence_group(EquivalenceGroup::new(classes))?;
        sound.add_constants(constants)?;
        sound.add_orderings(orders);
        Ok(sound)
    }

    /// The expressions that are equal in the input, grouped by the rows in which they are NULL.
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

/// The output rows in which an expression has a NULL that the input does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nulls {
    None,
    /// A column that is NULL in the same rows as the other columns with this number.
    Together(usize),
    /// An expression of such columns, like `coalesce(x, 0)`, which may be NULL in these rows or have another value.
    Unlike,
}

/// Passes on the rows of an operator, and declares the properties that hold.
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

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Self::above(input, self.columns.clone())
    }
}

impl DisplayAs for KnownOrderExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, format, "KnownOrderExec")
    }
}

impl ExecutionPlan for KnownOrderExec {
    fn name(&self) -> &'static str {
        "KnownOrderExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// An order that is required above is not to be required of the operator below.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    one_input!();

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

/// The plan extension for [`KnownOrderExec`].
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
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        KnownOrderExec::above(only_input(inputs)?, from_wire(bytes)?)
    }
}
