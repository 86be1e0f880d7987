//! [`figures`]: the plan of the rows of `summarize`.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, UnnestOptions};
use datafusion::functions::math::expr_fn::isnan;
use datafusion::functions_aggregate::expr_fn::{
    approx_distinct, approx_percentile_cont, avg, count, max, min, stddev,
};
use datafusion::functions_nested::expr_fn::make_array;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use datafusion::scalar::ScalarValue;

use crate::error::{Result, SqlState, sql_err};

/// The number of all rows among the aggregates.
const ROWS: &str = "rows";

/// The quartiles, by the names of their columns.
const QUARTILES: [(&str, f64); 3] = [("q25", 0.25), ("q50", 0.5), ("q75", 0.75)];

/// One row for each column of the input: its name and type, and the figures over its rows that its type has.
pub(super) fn figures(input: LogicalPlan) -> Result<LogicalPlan> {
    let columns: Vec<Summarized> = input
        .schema()
        .iter()
        .enumerate()
        .map(|(index, (qualifier, field))| Summarized {
            index,
            column: Column::new(qualifier.cloned(), field.name()),
            data_type: field.data_type().clone(),
        })
        .collect();
    if columns.is_empty() {
        let message = "a relation without columns has nothing to summarize";
        return Err(sql_err(SqlState::Plan, message));
    }
    let mut aggregates = vec![count(lit(1_i64)).alias(ROWS)];
    for column in &columns {
        aggregates.extend(column.aggregates()?);
    }
    let lists = lists(&columns)?;
    let names = lists.iter().map(|(name, _)| Column::new_unqualified(*name));
    let names: Vec<Column> = names.collect();
    let lists = lists.into_iter().map(|(name, list)| list.alias(name));
    LogicalPlanBuilder::from(input)
        .aggregate(Vec::<Expr>::new(), aggregates)?
        .project(lists.collect::<Vec<_>>())?
        .unnest_columns_with_options(names, UnnestOptions::default())?
        .build()
}

/// The columns of the result, each a list with a value for each summarized column.
fn lists(columns: &[Summarized]) -> Result<Vec<(&'static str, Expr)>> {
    let names = columns.iter().map(|of| lit(of.column.name.as_str()));
    let types = columns.iter().map(|of| lit(of.data_type.to_string()));
    let counts = columns.iter().map(|_| rows());
    let mut all = vec![
        ("column_name", make_array(names.collect())),
        ("column_type", make_array(types.collect())),
        ("min", texts(columns, "min")),
        ("max", texts(columns, "max")),
        ("approx_unique", uniques(columns)),
        ("avg", numbers(columns, "avg")),
        ("std", numbers(columns, "std")),
    ];
    all.extend(QUARTILES.map(|(name, _)| (name, numbers(columns, name))));
    all.push(("count", make_array(counts.collect())));
    let nulls = columns.iter().map(Summarized::null_percentage);
    let nulls: Vec<Expr> = nulls.collect::<Result<_>>()?;
    all.push(("null_percentage", make_array(nulls)));
    Ok(all)
}

fn texts(columns: &[Summarized], figure: &str) -> Expr {
    let texts = columns.iter().map(|column| match column.value() {
        Some(_) => cast(column.figure(figure), DataType::Utf8),
        None => lit(ScalarValue::Utf8(None)),
    });
    make_array(texts.collect())
}

fn numbers(columns: &[Summarized], figure: &str) -> Expr {
    let numbers = columns.iter().map(|column| match column.number() {
        Some(_) => column.figure(figure),
        None => lit(ScalarValue::Float64(None)),
    });
    make_array(numbers.collect())
}

fn uniques(columns: &[Summarized]) -> Expr {
    let uniques = columns.iter().map(|column| match column.value() {
        Some(_) => cast(column.figure("unique"), DataType::Int64),
        None => lit(ScalarValue::Int64(None)),
    });
    make_array(uniques.collect())
}

/// The number of all rows.
fn rows() -> Expr {
    Expr::Column(Column::new_unqualified(ROWS))
}

/// A column of the input.
struct Summarized {
    index: usize,
    column: Column,
    data_type: DataType,
}

impl Summarized {
    /// The name of an aggregate of the column.
    fn name(&self, figure: &str) -> String {
        format!("{figure} {}", self.index)
    }

    /// The value of an aggregate of the column.
    fn figure(&self, figure: &str) -> Expr {
        Expr::Column(Column::new_unqualified(self.name(figure)))
    }

    /// The column, if its values have an order and are written as text.
    fn value(&self) -> Option<Expr> {
        let column = Expr::Column(self.column.clone());
        match &self.data_type {
            DataType::Dictionary(_, values) => {
                is_plain(values).then(|| cast(column, values.as_ref().clone()))
            }
            DataType::Float16 => Some(cast(column, DataType::Float32)),
            data_type => is_plain(data_type).then_some(column),
        }
    }

    /// The column as numbers, if it is one of numbers.
    fn number(&self) -> Option<Expr> {
        let is_number = match &self.data_type {
            DataType::Dictionary(_, values) => values.is_numeric(),
            data_type => data_type.is_numeric(),
        };
        let value = self.value().filter(|_| is_number)?;
        Some(cast(value, DataType::Float64))
    }

    fn aggregates(&self) -> Result<Vec<Expr>> {
        let present = count(Expr::Column(self.column.clone()));
        let mut all = vec![("present", present)];
        if let Some(value) = self.value() {
            let text = cast(value.clone(), DataType::Utf8);
            all.push(("min", min(value.clone())));
            all.push(("max", max(value)));
            all.push(("unique", approx_distinct(text)));
        }
        if let Some(number) = self.number() {
            all.push(("avg", avg(number.clone())));
            all.push(("std", stddev(number.clone())));
            // NaN has no place among the quartiles.
            let is_nan = isnan(number.clone());
            let ordered = when(is_nan, lit(ScalarValue::Float64(None))).otherwise(number)?;
            for (name, share) in QUARTILES {
                let sort = ordered.clone().sort(true, false);
                all.push((name, approx_percentile_cont(sort, lit(share), None)));
            }
        }
        let named = all.into_iter();
        let named = named.map(|(figure, aggregate)| aggregate.alias(self.name(figure)));
        Ok(named.collect())
    }

    /// The share of NULL among the rows, in percent; NULL if there are none.
    fn null_percentage(&self) -> Result<Expr> {
        let present = cast(self.figure("present"), DataType::Float64);
        let all = cast(rows(), DataType::Float64);
        let percentage = (all.clone() - present) * lit(100.0_f64) / all;
        when(rows().gt(lit(0_i64)), percentage).end()
    }
}

/// Whether values of a type have an order, and a text each.
fn is_plain(data_type: &DataType) -> bool {
    data_type.is_numeric()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..)
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data_type: DataType) -> Summarized {
        Summarized {
            index: 3,
            column: Column::new_unqualified("x"),
            data_type,
        }
    }

    #[test]
    fn a_type_decides_the_figures() {
        let text = Box::new(DataType::Utf8);
        let folders = DataType::Dictionary(Box::new(DataType::UInt16), text);
        let list = DataType::new_list(DataType::Int64, true);
        for (data_type, expected) in [
            (DataType::Int32, 9),
            (DataType::Utf8, 4),
            (folders, 4),
            (DataType::Boolean, 4),
            (list, 1),
            (DataType::Binary, 1),
            (DataType::Null, 1),
        ] {
            let found = of(data_type.clone()).aggregates().unwrap();
            assert_eq!(found.len(), expected, "{data_type}");
        }
    }
}
