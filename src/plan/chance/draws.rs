//! [`DrawOnce`]: the analyzer rule that computes each random value in one place, below a fence; all readers get a column.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Distinct, DistinctOn, Expr, Extension, Filter, Join, LogicalPlan, Projection,
};
use datafusion::optimizer::AnalyzerRule;

use super::fence::FenceNode;
use super::volatile::{has_draw, is_draw};
use crate::error::{SqlState, sql_err};

/// Runs after the rules that determine types. A second run leaves the plan unchanged.
#[derive(Debug)]
pub(crate) struct DrawOnce;

impl AnalyzerRule for DrawOnce {
    fn name(&self) -> &str {
        "draw_once"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(rewritten(plan)?.data)
    }
}

fn rewritten(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    plan.transform_down_with_subqueries(|node| match is_fence(&node) {
        // The projection right below the fence draws. All nodes below the projection may need rewriting.
        true => {
            let inner = node.map_children(|drawing| {
                drawing
                    .map_subqueries(rewritten)?
                    .transform_sibling(|drawing| drawing.map_children(rewritten))
            })?;
            let (data, transformed) = (inner.data, inner.transformed);
            Ok(Transformed::new(data, transformed, TreeNodeRecursion::Jump))
        }
        false => drawn_below(node),
    })
}

fn is_fence(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Extension(Extension { node }) if node.as_any().is::<FenceNode>())
}

/// The same node over a projection that draws the random values of the node.
fn drawn_below(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut draws = false;
    node.apply_expressions(|expr| {
        draws |= has_draw(expr)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !draws {
        return Ok(Transformed::no(node));
    }
    let refers_outside = |input: &LogicalPlan| !input.all_out_ref_exprs().is_empty();
    let is_for_outer_rows = node.inputs().into_iter().any(refers_outside);
    if is_for_outer_rows {
        return drawn_for_outer_rows(node);
    }
    match node {
        LogicalPlan::Join(join) => with_draws_above(join),
        LogicalPlan::Distinct(Distinct::On(distinct)) => {
            let mut draws = Draws::new(distinct.input.schema());
            let on_expr = draws.named(distinct.on_expr)?;
            let select_expr = draws.named(distinct.select_expr)?;
            let sort_expr = distinct.sort_expr.map(|sorts| {
                let sorts = sorts.into_iter().map(|sort| {
                    let expr = draws.column_for(sort.expr.clone())?;
                    Ok(sort.with_expr(expr))
                });
                sorts.collect::<Result<Vec<_>>>()
            });
            let input = Arc::new(draws.below_fence(&distinct.input)?);
            let distinct =
                DistinctOn::try_new(on_expr, select_expr, sort_expr.transpose()?, input)?;
            Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::On(
                distinct,
            ))))
        }
        LogicalPlan::Aggregate(aggregate)
            if aggregate
                .group_expr
                .iter()
                .any(|group| matches!(group, Expr::GroupingSet(_)) && group.is_volatile()) =>
        {
            Err(sql_err(
                SqlState::Unsupported,
                "ROLLUP, CUBE and GROUPING SETS take no random values; draw them in a sub-query and group by its column",
            ))
        }
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) => {
            Ok(Transformed::yes(over_draws(&node)?))
        }
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Window(_) => {
            let columns = node.schema().columns().into_iter().map(Expr::Column);
            let columns = columns.collect();
            let node = Arc::new(over_draws(&node)?);
            let kept = Projection::try_new(columns, node)?;
            Ok(Transformed::yes(LogicalPlan::Projection(kept)))
        }
        // VALUES and LIMIT evaluate their expressions once anyway.
        other => Ok(Transformed::no(other)),
    }
}

/// A node of a correlated sub-query. Its rows are found for each row of the outer query, so no fence may stand between the
/// two queries. Arguments of aggregates are evaluated in one place anyway.
fn drawn_for_outer_rows(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let is_argument = match &node {
        LogicalPlan::Aggregate(aggregate) => !aggregate.group_expr.iter().any(Expr::is_volatile),
        _ => false,
    };
    if is_argument {
        return Ok(Transformed::no(node));
    }
    Err(sql_err(
        SqlState::Unsupported,
        "a sub-query that refers to the query around it cannot draw random values; draw them in a sub-query of their own",
    ))
}

/// A node with one input, over a projection that draws the random values of the node.
fn over_draws(node: &LogicalPlan) -> Result<LogicalPlan> {
    let names = NamePreserver::new(node);
    let input = node.inputs()[0];
    let mut draws = Draws::new(input.schema());
    let exprs = node.expressions().into_iter().map(|expr| {
        let name = names.save(&expr);
        Ok(name.restore(draws.column_for(expr)?))
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    node.with_new_exprs(exprs, vec![draws.below_fence(input)?])
}

/// A join whose condition draws. PostgreSQL draws for each pair of rows; a filter above the join does the same.
fn with_draws_above(join: Join) -> Result<Transformed<LogicalPlan>> {
    if join.join_type != JoinType::Inner || join.null_equality != NullEquality::NullEqualsNothing {
        let message = format!(
            "a condition of {} JOIN cannot draw random values; draw them in a sub-query",
            join.join_type.to_string().to_uppercase()
        );
        return Err(sql_err(SqlState::Unsupported, message));
    }
    let mut above = Vec::new();
    let mut on = Vec::new();
    for (left, right) in join.on {
        match has_draw(&left)? || has_draw(&right)? {
            true => above.push(left.eq(right)),
            false => on.push((left, right)),
        }
    }
    let mut rest = Vec::new();
    for part in join.filter.into_iter().flat_map(split_conjunction_owned) {
        match has_draw(&part)? {
            true => above.push(part),
            false => rest.push(part),
        }
    }
    let join = Join {
        on,
        filter: conjunction(rest),
        ..join
    };
    match conjunction(above) {
        Some(predicate) => {
            let join = Arc::new(LogicalPlan::Join(join));
            drawn_below(LogicalPlan::Filter(Filter::try_new(predicate, join)?))
        }
        None => Ok(Transformed::no(LogicalPlan::Join(join))),
    }
}

/// The draws of one node, each a column of the projection below it.
struct Draws<'a> {
    schema: &'a DFSchema,
    found: Vec<(Expr, String)>,
}

impl<'a> Draws<'a> {
    fn new(schema: &'a DFSchema) -> Self {
        let found = Vec::new();
        Self { schema, found }
    }

    /// The expression with a column in place of each draw.
    fn column_for(&mut self, expr: Expr) -> Result<Expr> {
        let replaced = expr.transform_down(|expr| {
            if !is_draw(&expr)? {
                return Ok(Transformed::no(expr));
            }
            let name = self.unused_name();
            let column = Expr::Column(Column::new_unqualified(&name));
            self.found.push((expr, name));
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })?;
        Ok(replaced.data)
    }

    /// The expressions with a column in place of each draw; each expression keeps its name.
    fn named(&mut self, exprs: Vec<Expr>) -> Result<Vec<Expr>> {
        let exprs = exprs.into_iter().map(|expr| {
            let name = expr.schema_name().to_string();
            let (qualifier, _) = expr.qualified_name();
            match has_draw(&expr)? {
                true => Ok(self.column_for(expr)?.alias_qualified(qualifier, name)),
                false => Ok(expr),
            }
        });
        exprs.collect()
    }

    fn unused_name(&self) -> String {
        let mut number = self.found.len() + 1;
        loop {
            let name = format!("__draw_{number}");
            let is_column = self
                .schema
                .fields()
                .iter()
                .any(|field| *field.name() == name);
            let is_draw = self.found.iter().any(|(_, known)| *known == name);
            if !is_column && !is_draw {
                return name;
            }
            number += 1;
        }
    }

    /// `input` with the draws as its last columns.
    fn below_fence(self, input: &LogicalPlan) -> Result<LogicalPlan> {
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        let names = self.found.iter().map(|(_, name)| name.clone()).collect();
        let drawn = self.found.into_iter().map(|(expr, name)| expr.alias(name));
        let drawing = Projection::try_new(columns.chain(drawn).collect(), Arc::new(input.clone()))?;
        let node = FenceNode::new(LogicalPlan::Projection(drawing), names);
        Ok(LogicalPlan::Extension(Extension {
            node: Arc::new(node),
        }))
    }
}
