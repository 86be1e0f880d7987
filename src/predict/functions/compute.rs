//! [`ComputeCalls`]: the analyzer rule that computes each call of a model function in an operator below the operator whose
//! expression has the call. The expression reads the column of that operator instead.
//!
//! ```text
//! Projection: t.id, embed(m, t.body)           Projection: t.id, __embed_1 AS embed(m,t.body)
//!   Filter: l2_distance(embed(m, t.body),        Filter: l2_distance(__embed_1, __embed_2) < 1
//!             embed(m, 'query')) < 1     ─▶        CrossJoin
//!     TableScan: t                                   Projection: __embed_2
//!                                                      Predict: m, 'query' → __embed_2
//!                                                    Predict: m, t.body → __embed_1
//!                                                      TableScan: t
//! ```
//! A column that a call has is offered to the operators above, as long as the columns pass that the call reads: so equal calls of
//! several operators are computed once. [`super::place`] says where the operator goes.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Distinct, DistinctOn, Expr, Filter, Join, LogicalPlan, Projection, SortExpr,
};
use datafusion::optimizer::AnalyzerRule;

use super::call::{PlannedCall, not_here, planned};
use super::look::{
    check_arguments, first_call, has_call, is_of_sides, node_has_calls, plan_has_calls,
    reads_columns_only, reads_no_query,
};
use super::place::{has_columns, placed};
use super::values::as_projection;
use crate::error::{SqlState, sql_err};
use crate::plan::names::unused_name;
use crate::predict::joins::{Keeps, Side, keeps};

/// Runs when types are known and random values are columns. A second run leaves the plan unchanged.
#[derive(Debug)]
pub(crate) struct ComputeCalls;

impl AnalyzerRule for ComputeCalls {
    fn name(&self) -> &str {
        "compute_model_calls"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        match plan_has_calls(&plan)? {
            true => Rewriter::default().closed(plan),
            false => Ok(plan),
        }
    }
}

/// A call that has a column.
#[derive(Debug, Clone)]
struct Computed {
    call: Expr,
    column: Column,
}

/// A plan whose calls are computed. It may have more columns than the plan before: those of the calls.
struct Rewritten {
    plan: LogicalPlan,
    computed: Vec<Computed>,
}

impl Rewritten {
    fn without_columns(plan: LogicalPlan) -> Self {
        let computed = Vec::new();
        Self { plan, computed }
    }
}

#[derive(Default)]
struct Rewriter {
    /// The columns named so far.
    names: usize,
}

impl Rewriter {
    /// The plan with its calls computed, and with the columns that it had.
    fn closed(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let schema = Arc::clone(plan.schema());
        let Rewritten { plan, .. } = self.rewritten(plan)?;
        if plan.schema().fields().len() == schema.fields().len() {
            return Ok(plan);
        }
        let columns = schema.columns().into_iter().map(Expr::Column);
        let plan = Projection::try_new(columns.collect(), Arc::new(plan))?;
        Ok(LogicalPlan::Projection(plan))
    }

    fn rewritten(&mut self, plan: LogicalPlan) -> Result<Rewritten> {
        let queries = plan.map_subqueries(|query| Ok(Transformed::yes(self.closed(query)?)))?;
        match queries.data {
            plan @ (LogicalPlan::Filter(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Projection(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Distinct(Distinct::On(_))
            | LogicalPlan::Join(_)) => self.over_open_inputs(plan),
            LogicalPlan::Values(values)
                if node_has_calls(&LogicalPlan::Values(values.clone()))? =>
            {
                self.rewritten(as_projection(values)?)
            }
            plan => self.over_closed_inputs(plan),
        }
    }

    /// An operator that computes no call, over inputs without further columns.
    fn over_closed_inputs(&mut self, plan: LogicalPlan) -> Result<Rewritten> {
        if let Some(call) = first_call(&plan.expressions())? {
            return Err(not_here(call.function));
        }
        let plan = plan.map_children(|input| Ok(Transformed::yes(self.closed(input)?)))?;
        Ok(Rewritten::without_columns(plan.data))
    }

    /// An operator that may have calls, over inputs that may have the columns of calls.
    fn over_open_inputs(&mut self, plan: LogicalPlan) -> Result<Rewritten> {
        let mut computed = Vec::new();
        let plan = plan.map_children(|input| {
            let input = self.rewritten(input)?;
            computed.push(input.computed);
            Ok(Transformed::yes(input.plan))
        })?;
        let plan = plan.data.recompute_schema()?;
        match (plan, computed.pop().unwrap_or_default()) {
            (LogicalPlan::Join(join), right) => {
                self.join(join, [computed.pop().unwrap_or_default(), right])
            }
            (LogicalPlan::Distinct(Distinct::On(distinct)), computed) => {
                self.distinct_on(distinct, computed)
            }
            (plan, computed) => self.one_input(plan, computed),
        }
    }

    fn one_input(&mut self, plan: LogicalPlan, mut computed: Vec<Computed>) -> Result<Rewritten> {
        let exprs = plan.expressions();
        let plan = match first_call(&exprs)? {
            None => plan,
            Some(call) => {
                let mut sets = exprs
                    .iter()
                    .filter(|expr| matches!(expr, Expr::GroupingSet(_)));
                let has_call_in_set = sets.any(|set| has_call(set).unwrap_or(true));
                if matches!(plan, LogicalPlan::Limit(_)) {
                    return Err(not_here(call.function));
                }
                if has_call_in_set {
                    let message = format!(
                        "ROLLUP, CUBE and GROUPING SETS do not take {0}; compute it in a sub-query and group by its column",
                        call.function
                    );
                    return Err(sql_err(SqlState::Unsupported, message));
                }
                let names = NamePreserver::new(&plan);
                let mut input = plan.inputs()[0].clone();
                let exprs = exprs.into_iter().map(|expr| {
                    let name = names.save(&expr);
                    let expr = self.with_columns(expr, &mut input, &mut computed)?;
                    Ok(name.restore(expr))
                });
                let exprs = exprs.collect::<Result<Vec<_>>>()?;
                plan.with_new_exprs(exprs, vec![input])?
            }
        };
        match plan {
            LogicalPlan::Projection(projection) => with_passing(projection, computed),
            plan @ LogicalPlan::Aggregate(_) => Ok(Rewritten::without_columns(plan)),
            plan => Ok(Rewritten { plan, computed }),
        }
    }

    fn distinct_on(
        &mut self,
        distinct: DistinctOn,
        mut computed: Vec<Computed>,
    ) -> Result<Rewritten> {
        let mut input = Arc::unwrap_or_clone(distinct.input);
        let mut columns = |expr: Expr| self.with_columns(expr, &mut input, &mut computed);
        let on_expr = distinct.on_expr.into_iter().map(&mut columns);
        let on_expr = on_expr.collect::<Result<Vec<_>>>()?;
        let select_expr = distinct.select_expr.into_iter().map(|expr| {
            let name = expr.schema_name().to_string();
            let (qualifier, _) = expr.qualified_name();
            match has_call(&expr)? {
                true => Ok(columns(expr)?.alias_qualified(qualifier, name)),
                false => Ok(expr),
            }
        });
        let select_expr = select_expr.collect::<Result<Vec<_>>>()?;
        let sort_expr = distinct.sort_expr.map(|sorts| {
            let sorts = sorts.into_iter().map(|sort: SortExpr| {
                let expr = columns(sort.expr.clone())?;
                Ok(sort.with_expr(expr))
            });
            sorts.collect::<Result<Vec<_>>>()
        });
        let sort_expr = sort_expr.transpose()?;
        let distinct = DistinctOn::try_new(on_expr, select_expr, sort_expr, Arc::new(input))?;
        let plan = LogicalPlan::Distinct(Distinct::On(distinct));
        Ok(Rewritten::without_columns(plan))
    }

    /// A join, each of whose calls is computed on the side whose columns it reads.
    fn join(&mut self, join: Join, computed: [Vec<Computed>; 2]) -> Result<Rewritten> {
        let [left, right] = computed;
        let mut left = Rewritten {
            plan: Arc::unwrap_or_clone(join.left),
            computed: left,
        };
        let mut right = Rewritten {
            plan: Arc::unwrap_or_clone(join.right),
            computed: right,
        };
        let mut on = Vec::with_capacity(join.on.len());
        for (of_left, of_right) in join.on {
            let of_left = self.with_columns(of_left, &mut left.plan, &mut left.computed)?;
            let of_right = self.with_columns(of_right, &mut right.plan, &mut right.computed)?;
            on.push((of_left, of_right));
        }
        let (mut within, mut above) = (Vec::new(), Vec::new());
        for part in join.filter.into_iter().flat_map(split_conjunction_owned) {
            match is_of_sides(&part, left.plan.schema(), right.plan.schema())? {
                true => within.push(self.of_sides(part, &mut left, &mut right)?),
                false => above.push(part),
            }
        }
        if let (Some(call), true) = (first_call(&above)?, join.join_type != JoinType::Inner) {
            let message = format!(
                "a condition of {} JOIN cannot have {} of columns of both sides; compute it in a sub-query",
                join.join_type.to_string().to_uppercase(),
                call.function
            );
            return Err(sql_err(SqlState::Unsupported, message));
        }
        let sides = [(Side::Left, left.computed), (Side::Right, right.computed)];
        let computed = sides.into_iter().flat_map(|(side, computed)| {
            let keeps = keeps(join.join_type, side);
            computed.into_iter().filter(move |computed| match keeps {
                Keeps::All => true,
                Keeps::OrNull => reads_columns_only(&computed.call),
                Keeps::None => false,
            })
        });
        let computed: Vec<Computed> = computed.collect();
        let join = Join::try_new(
            Arc::new(left.plan),
            Arc::new(right.plan),
            on,
            conjunction(within),
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        let join = LogicalPlan::Join(join);
        match conjunction(above) {
            None => Ok(Rewritten {
                plan: join,
                computed,
            }),
            Some(condition) => {
                let filter = Filter::try_new(condition, Arc::new(join))?;
                self.one_input(LogicalPlan::Filter(filter), computed)
            }
        }
    }

    /// A condition of a join, each of whose calls reads columns of one side.
    fn of_sides(
        &mut self,
        condition: Expr,
        left: &mut Rewritten,
        right: &mut Rewritten,
    ) -> Result<Expr> {
        let condition = condition.transform_up(|expr| {
            let Some(call) = planned(&expr)? else {
                return Ok(Transformed::no(expr));
            };
            let side = match has_columns(left.plan.schema(), &expr.column_refs()) {
                true => &mut *left,
                false => &mut *right,
            };
            let column = self.column(expr, &call, &mut side.plan, &mut side.computed)?;
            Ok(Transformed::yes(Expr::Column(column)))
        })?;
        Ok(condition.data)
    }

    /// The expression with a column in place of each call. `input` gets the columns that `computed` does not have.
    fn with_columns(
        &mut self,
        expr: Expr,
        input: &mut LogicalPlan,
        computed: &mut Vec<Computed>,
    ) -> Result<Expr> {
        let replaced = expr.transform_up(|expr| match planned(&expr)? {
            None => Ok(Transformed::no(expr)),
            Some(call) => {
                let column = self.column(expr, &call, input, computed)?;
                Ok(Transformed::yes(Expr::Column(column)))
            }
        })?;
        Ok(replaced.data)
    }

    fn column(
        &mut self,
        expr: Expr,
        call: &PlannedCall,
        input: &mut LogicalPlan,
        computed: &mut Vec<Computed>,
    ) -> Result<Column> {
        if let Some(known) = computed.iter().find(|known| known.call == expr) {
            return Ok(known.column.clone());
        }
        check_arguments(call)?;
        let name = unused_name(call.function, &mut self.names, input.schema());
        let plan = std::mem::take(input);
        *input = placed(plan, call, &name)?;
        let column = Column::new_unqualified(name);
        computed.push(Computed {
            call: expr,
            column: column.clone(),
        });
        Ok(column)
    }
}

/// A projection that passes on the calls whose columns it passes on.
fn with_passing(projection: Projection, computed: Vec<Computed>) -> Result<Rewritten> {
    let Projection {
        mut expr, input, ..
    } = projection;
    let passes = |computed: &Computed| {
        let mut columns = computed.call.column_refs().into_iter();
        reads_no_query(&computed.call)
            && columns.all(|column| {
                expr.iter()
                    .any(|expr| matches!(expr, Expr::Column(passed) if passed == column))
            })
    };
    let computed: Vec<Computed> = computed.into_iter().filter(passes).collect();
    for Computed { column, .. } in &computed {
        let column = Expr::Column(column.clone());
        if !expr.contains(&column) {
            expr.push(column);
        }
    }
    let plan = LogicalPlan::Projection(Projection::try_new(expr, input)?);
    Ok(Rewritten { plan, computed })
}
