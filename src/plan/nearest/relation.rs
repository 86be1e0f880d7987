//! The relation planner of `nearest`.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::logical_expr::planner::{
    RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, TableFactor, TableFunctionArgs,
};

use super::node::NearestNode;
use super::spec::Metric;
use crate::error::Result;
use crate::plan::argument_values::whole;
use crate::plan::table_function::{
    argument_err, called, literal, named_argument, named_relation, planned_query, syntax_err,
};
use crate::sql::{NEAREST, given_twice, unknown_argument};

pub(crate) const NAMES: &[&str] = &["top_k", "metric"];
const USAGE: &str = "nearest((queries), (items), top_k => 10, metric => 'cosine')";
/// The number of items for each query without `top_k`.
const TOP_K: usize = 10;
/// The maximum of `top_k`.
const TOP_K_MAX: i64 = 10_000;

#[derive(Debug)]
pub(super) struct NearestRelation;

impl RelationPlanner for NearestRelation {
    fn plan_relation(
        &self,
        factor: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some((function, args, alias)) = called(&factor, &[NEAREST]) else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        let (top_k, metric) = named(args, context)?;
        let queries = input(args, 0, context)?;
        let items = input(args, 1, context)?;
        let node = NearestNode::try_new(queries, items, top_k, metric)?;
        let plan = LogicalPlan::Extension(Extension {
            node: Arc::new(node),
        });
        named_relation(function, alias, plan)
    }
}

/// The relation at a position of the arguments.
fn input(
    args: &TableFunctionArgs,
    position: usize,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    match args.args.get(position) {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query)))) => {
            planned_query(query.clone(), context)
        }
        found => {
            let found = found.map_or("nothing".to_owned(), ToString::to_string);
            Err(syntax_err(format!(
                "the first two arguments of nearest are tables or (query), found {found}; use {USAGE}"
            )))
        }
    }
}

/// `top_k` and `metric`.
fn named(
    args: &TableFunctionArgs,
    context: &mut dyn RelationPlannerContext,
) -> Result<(usize, Metric)> {
    let (mut top_k, mut metric) = (TOP_K, Metric::Cosine);
    let mut given = HashSet::new();
    for argument in args.args.iter().skip(2) {
        let (name, value) = named_argument(NEAREST, argument, USAGE)?;
        if !NAMES.contains(&name.as_str()) {
            return Err(unknown_argument(NEAREST, &name, NAMES));
        }
        let value = literal(&name, value, context)?;
        match name.as_str() {
            "top_k" => top_k = whole(&name, &value, 1..=TOP_K_MAX)?,
            _ => metric = measure(&name, &value)?,
        }
        if !given.insert(name.clone()) {
            return Err(given_twice(&name));
        }
    }
    Ok((top_k, metric))
}

fn measure(name: &str, value: &ScalarValue) -> Result<Metric> {
    let metric = value.try_as_str().flatten().and_then(Metric::named);
    metric.ok_or_else(|| argument_err(name, &Metric::names(), value))
}
