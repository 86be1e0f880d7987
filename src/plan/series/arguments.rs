//! [`Arguments`]: the arguments of a call of `windows` as written, before the columns of its input are known.

use std::collections::HashSet;

use datafusion::common::DataFusionError;
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Query, TableFunctionArgs,
};

use crate::error::Result;
use crate::plan::argument_values::whole;
use crate::plan::table_function::{literal, named_argument, syntax_err};
use crate::sql::{WINDOWS, given_twice, unknown_argument};

pub(crate) const NAMES: &[&str] = &["order", "by", "columns", "lags", "horizon"];
const USAGE: &str = "windows(table, order => column, by => column, lags => 14, horizon => 1)";
/// The maximum of `lags` and of `horizon`.
const ROWS_MAX: i64 = 10_000;

/// The named arguments; columns by their names.
pub(super) struct Arguments {
    pub(super) order: String,
    pub(super) by: Vec<String>,
    /// `None`: all columns of numbers that no other argument names.
    pub(super) columns: Option<Vec<String>>,
    pub(super) lags: usize,
    pub(super) horizon: usize,
}

/// The query of the first argument.
pub(super) fn input(args: &TableFunctionArgs) -> Result<Box<Query>> {
    match args.args.first() {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query)))) => {
            Ok(query.clone())
        }
        found => {
            let found = found.map_or("nothing".to_owned(), ToString::to_string);
            Err(syntax_err(format!(
                "the first argument of windows is a table or (query), found {found}; use {USAGE}"
            )))
        }
    }
}

impl Arguments {
    pub(super) fn parse(
        args: &TableFunctionArgs,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<Self> {
        let (mut order, mut by, mut columns) = (None, Vec::new(), None);
        let (mut lags, mut horizon) = (None, 0);
        let mut given = HashSet::new();
        for argument in args.args.iter().skip(1) {
            let (name, value) = named_argument(WINDOWS, argument, USAGE)?;
            match name.as_str() {
                "order" => order = Some(one_column(&name, value, context)?),
                "by" => by = some_columns(&name, value, context)?,
                "columns" => columns = Some(some_columns(&name, value, context)?),
                "lags" => lags = Some(row_count(&name, 1, value, context)?),
                "horizon" => horizon = row_count(&name, 0, value, context)?,
                _ => return Err(unknown_argument(WINDOWS, &name, NAMES)),
            }
            if !given.insert(name.clone()) {
                return Err(given_twice(&name));
            }
        }
        Ok(Self {
            order: order.ok_or_else(|| missing("order, the column that orders a series"))?,
            by,
            columns,
            lags: lags.ok_or_else(|| missing("lags, the number of rows that an array covers"))?,
            horizon,
        })
    }
}

fn missing(what: &str) -> DataFusionError {
    syntax_err(format!("windows needs {what}; use {USAGE}"))
}

fn one_column(name: &str, value: &Expr, context: &dyn RelationPlannerContext) -> Result<String> {
    match column_names(value, context).as_deref() {
        Some([column]) => Ok(column.clone()),
        _ => Err(syntax_err(format!(
            "argument {name} is a column, found {value}"
        ))),
    }
}

fn some_columns(
    name: &str,
    value: &Expr,
    context: &dyn RelationPlannerContext,
) -> Result<Vec<String>> {
    column_names(value, context).ok_or_else(|| {
        syntax_err(format!(
            "argument {name} is a column or a list such as [a, b], found {value}"
        ))
    })
}

/// The names of a column, or of the columns of a list in square or round brackets.
fn column_names(value: &Expr, context: &dyn RelationPlannerContext) -> Option<Vec<String>> {
    let names_of = |values: &[Expr]| {
        let names = values.iter().map(|value| column_names(value, context));
        let names: Option<Vec<Vec<String>>> = names.collect();
        names.map(|names| names.concat())
    };
    match value {
        Expr::Identifier(name) => Some(vec![context.normalize_ident(name.clone())]),
        Expr::Array(list) => names_of(&list.elem),
        Expr::Tuple(list) => names_of(list),
        Expr::Nested(inner) => column_names(inner, context),
        _ => None,
    }
}

fn row_count(
    name: &str,
    min: i64,
    value: &Expr,
    context: &mut dyn RelationPlannerContext,
) -> Result<usize> {
    whole(name, &literal(name, value, context)?, min..=ROWS_MAX)
}
