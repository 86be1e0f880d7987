//! The relation planner from `TABLESAMPLE` in SQL to [`SampleNode`].

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    TableFactor, TableSample, TableSampleKind, TableSampleMethod, TableSampleQuantity,
    TableSampleSeed, TableSampleUnit, Value,
};

use super::node::SampleNode;
use crate::error::{SqlState, sql_err};

/// The supported forms of the clause.
const USAGE: &str = "TABLESAMPLE BERNOULLI (10), TABLESAMPLE SYSTEM (10) or TABLESAMPLE (10 PERCENT), each with \
                     REPEATABLE (seed) for the same rows each time";

#[derive(Debug)]
pub(super) struct SampleRelation;

impl RelationPlanner for SampleRelation {
    fn plan_relation(
        &self,
        mut factor: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let sample = match &mut factor {
            TableFactor::Table { sample, .. } | TableFactor::Derived { sample, .. } => {
                sample.take()
            }
            _ => None,
        };
        let Some(
            TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample),
        ) = sample
        else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        let (percent, seed) = drawn(*sample, context)?;
        let node = SampleNode::new(context.plan(factor)?, percent, seed);
        let plan = LogicalPlan::Extension(Extension {
            node: Arc::new(node),
        });
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, None,
        ))))
    }
}

/// The percentage and the seed of a sample.
fn drawn(
    sample: TableSample,
    context: &mut dyn RelationPlannerContext,
) -> Result<(f64, Option<u64>)> {
    let TableSample {
        modifier: _,
        name,
        quantity,
        seed,
        bucket,
        offset,
    } = sample;
    if bucket.is_some() || offset.is_some() {
        return Err(unsupported("BUCKET and OFFSET of a sample"));
    }
    if let Some(method @ (TableSampleMethod::Row | TableSampleMethod::Block)) = &name {
        return Err(unsupported(&format!("TABLESAMPLE {method}")));
    }
    let Some(TableSampleQuantity { value, unit, .. }) = quantity else {
        return Err(unsupported("a sample without a size"));
    };
    match (&name, &unit) {
        (_, Some(TableSampleUnit::Rows)) => {
            return Err(unsupported("a sample of a number of ROWS"));
        }
        (None, None) => {
            return Err(unsupported("a sample without BERNOULLI, SYSTEM or PERCENT"));
        }
        (Some(_), _) | (None, Some(TableSampleUnit::Percent)) => {}
    }
    let shown = value.to_string();
    let percent = match context.sql_to_expr(value, &DFSchema::empty())? {
        Expr::Literal(value, _) => value.cast_to(&DataType::Float64),
        _ => Ok(ScalarValue::Null),
    };
    let percent = match percent {
        Ok(ScalarValue::Float64(Some(percent))) if (0.0..=100.0).contains(&percent) => percent,
        _ => {
            let message = format!("a sample takes 0 to 100 percent of the rows, found {shown}");
            return Err(sql_err(SqlState::InvalidParameter, message));
        }
    };
    Ok((percent, seed.map(number).transpose()?))
}

/// The seed as an integer. For another number, such as 0.5, the bits of the number are the seed: rounding would make
/// different numbers equal.
fn number(seed: TableSampleSeed) -> Result<u64> {
    let Value::Number(text, _) = &seed.value.value else {
        return Err(not_a_seed(&seed));
    };
    let text = text.to_string();
    match (text.parse::<u64>(), text.parse::<f64>()) {
        (Ok(seed), _) => Ok(seed),
        (Err(_), Ok(seed)) => Ok(seed.to_bits()),
        _ => Err(not_a_seed(&seed)),
    }
}

fn not_a_seed(seed: &TableSampleSeed) -> DataFusionError {
    let message = format!("the seed of a sample is a number, found {}", seed.value);
    sql_err(SqlState::InvalidParameter, message)
}

fn unsupported(what: &str) -> DataFusionError {
    sql_err(
        SqlState::Unsupported,
        format!("{what} is not supported; use {USAGE}"),
    )
}
