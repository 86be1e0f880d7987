//! [`as_projection`]: VALUES with calls of model functions as a projection over VALUES of their arguments, so that the calls of all
//! rows are computed together.
//!
//! ```text
//! Values: (1, embed(m, 'a'))          Projection: column1, embed(m, column2) AS column2
//!         (2, embed(m, 'b'))    ─▶      Values: (1, 'a')
//!         (3, NULL)                             (2, 'b')
//!                                               (3, NULL)
//! ```

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{
    Cast, Expr, LogicalPlan, LogicalPlanBuilder, Projection, Values, lit, when,
};
use datafusion::scalar::ScalarValue;

use super::call::{feature_places, is_call};
use crate::error::{SqlState, sql_err};

/// The projection that gives the same rows.
pub(super) fn as_projection(values: Values) -> Result<LogicalPlan> {
    let mut rows: Vec<Vec<Expr>> = vec![Vec::new(); values.values.len()];
    let mut exprs = Vec::with_capacity(values.schema.fields().len());
    for (at, field) in values.schema.fields().iter().enumerate() {
        let column: Vec<Expr> = values.values.iter().map(|row| row[at].clone()).collect();
        let value = column_of(column, field.data_type(), &mut rows)?;
        exprs.push(value.alias(field.name()));
    }
    let plan = LogicalPlanBuilder::values(rows)?.build()?;
    let plan = Projection::try_new(exprs, Arc::new(plan))?;
    Ok(LogicalPlan::Projection(plan))
}

/// An expression for the values of one column, over new columns of `rows`.
fn column_of(values: Vec<Expr>, data_type: &DataType, rows: &mut [Vec<Expr>]) -> Result<Expr> {
    let has_calls = values
        .iter()
        .map(|value| value.exists(|expr| Ok(is_call(expr))));
    let has_calls = has_calls.collect::<Result<Vec<bool>>>()?;
    if !has_calls.contains(&true) {
        return Ok(add(rows, values));
    }
    let first = rows.first().map_or(0, Vec::len);
    let mut shape = None;
    let mut arguments = Vec::with_capacity(values.len());
    let mut others = Vec::with_capacity(values.len());
    for (value, has_call) in values.into_iter().zip(&has_calls) {
        if !has_call {
            others.push(value);
            arguments.push(Vec::new());
            continue;
        }
        let (found, own) = with_columns(value, first)?;
        if *shape.get_or_insert_with(|| found.clone()) != found {
            let message = "the rows of VALUES call models in different ways; write a SELECT for each, with UNION ALL between them";
            return Err(sql_err(SqlState::Unsupported, message));
        }
        others.push(null());
        arguments.push(own);
    }
    let count = arguments.iter().map(Vec::len).max().unwrap_or(0);
    for at in 0..count {
        let values = arguments.iter().map(|own| own.get(at).cloned());
        add(
            rows,
            values.map(|value| value.unwrap_or_else(null)).collect(),
        );
    }
    let shape = shape.unwrap_or_else(null);
    if !has_calls.contains(&false) {
        return Ok(shape);
    }
    let is_called = add(rows, has_calls.into_iter().map(lit).collect());
    let other = Cast::new(Box::new(add(rows, others)), data_type.clone());
    when(is_called, shape).otherwise(Expr::Cast(other))
}

fn null() -> Expr {
    lit(ScalarValue::Null)
}

/// Adds a column to the rows of VALUES.
fn add(rows: &mut [Vec<Expr>], values: Vec<Expr>) -> Expr {
    let mut width = 0;
    for (row, value) in rows.iter_mut().zip(values) {
        row.push(value);
        width = row.len();
    }
    column(width)
}

/// The column of VALUES at a place that counts from 1.
fn column(place: usize) -> Expr {
    Expr::Column(Column::new_unqualified(format!("column{place}")))
}

/// A value with columns of VALUES, those after the `first` ones, as the arguments of its calls, and the arguments.
fn with_columns(value: Expr, first: usize) -> Result<(Expr, Vec<Expr>)> {
    let mut arguments = Vec::new();
    let replaced = value.transform_down(|expr| {
        let places = feature_places(&expr);
        match expr {
            Expr::ScalarFunction(mut call) if !places.is_empty() => {
                for place in places {
                    let column = column(first + arguments.len() + 1);
                    arguments.push(std::mem::replace(&mut call.args[place], column));
                }
                let call = Expr::ScalarFunction(call);
                Ok(Transformed::new(call, true, TreeNodeRecursion::Jump))
            }
            expr => Ok(Transformed::no(expr)),
        }
    })?;
    Ok((replaced.data, arguments))
}
