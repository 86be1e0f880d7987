//! Timestamps that nanoseconds cannot hold, such as those after 2262.
//!
//! DataFusion reads literals as nanoseconds and converts two units to the finer one, so that 9999-12-31 in a column of
//! microseconds cannot be compared with anything. [`WideTimes`] runs before type coercion, when every expression still has
//! the type that the user wrote:
//!
//! * a literal that nanoseconds cannot hold becomes microseconds, if it loses no digit,
//! * a constant beside a column takes the unit of the column, if it loses no digit (`align`),
//! * other comparisons use exact times, which are decimals with enough digits for every unit (`compare`).
//!
//! `constant` evaluates literals. A cast of a value to a unit that cannot hold the value is an error.

mod align;
mod compare;
mod constant;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use vatic_udfs::time::nanoseconds;

/// DataFusion's analyzer rules, after ours.
pub(crate) fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![Arc::new(WideTimes)];
    rules.extend(Analyzer::new().rules);
    rules
}

/// The plan with units that can hold its timestamps.
pub(crate) fn wide_times(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(widened)?.data)
}

/// Changes units that cannot hold the timestamps of a plan.
#[derive(Debug)]
pub(crate) struct WideTimes;

impl AnalyzerRule for WideTimes {
    fn name(&self) -> &str {
        "wide_times"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        wide_times(plan)
    }
}

fn widened(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&scan.projected_schema);
    }
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| widen(expr, &schema))?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    })?;
    let plan = plan.transform_data(|plan| match plan {
        LogicalPlan::Values(values) => align::values(values),
        LogicalPlan::Union(union) => align::union(union),
        LogicalPlan::Join(join) => compare::join(join),
        plan => Ok(Transformed::no(plan)),
    })?;
    // A type below this node may have changed.
    plan.map_data(LogicalPlan::recompute_schema)
}

fn widen(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Cast(cast) => Ok(literal(cast)),
        Expr::BinaryExpr(binary) => Ok(compare::binary(binary, schema)),
        Expr::Between(between) => Ok(compare::between(between, schema)),
        Expr::InList(list) => Ok(compare::in_list(list, schema)),
        Expr::InSubquery(list) => compare::in_subquery(list, schema),
        Expr::Case(case) => Ok(align::case(case, schema)),
        Expr::ScalarFunction(call) => Ok(align::call(call, schema)),
        expr => Ok(Transformed::no(expr)),
    }
}

/// A literal of nanoseconds that is out of range, as microseconds if no digit is lost.
fn literal(cast: Cast) -> Transformed<Expr> {
    if let DataType::Timestamp(TimeUnit::Nanosecond, zone) = cast.field.data_type()
        && let Some(moment) =
            constant::value(&cast.expr).and_then(|value| constant::moment(&value, zone.as_deref()))
        && i64::try_from(moment).is_err()
        && moment % i128::from(nanoseconds(TimeUnit::Microsecond)) == 0
    {
        let data_type = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
        return Transformed::yes(Expr::Cast(Cast::new(cast.expr, data_type)));
    }
    Transformed::no(Expr::Cast(cast))
}

/// The part of a type that matters for times.
#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Time(TimeUnit, Option<Arc<str>>),
    Date,
    Text,
    Other,
}

impl Kind {
    /// The kind of an expression; [`Kind::Other`] if its type is not known yet.
    fn of(expr: &Expr, schema: &DFSchema) -> Self {
        match expr.get_type(schema) {
            Ok(data_type) => Self::of_type(&data_type),
            Err(_) => Self::Other,
        }
    }

    fn of_type(data_type: &DataType) -> Self {
        match data_type {
            DataType::Timestamp(unit, zone) => Self::Time(*unit, zone.clone()),
            DataType::Date32 => Self::Date,
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Self::Text,
            DataType::Dictionary(_, values) => Self::of_type(values),
            _ => Self::Other,
        }
    }
}

fn cast_to(expr: Expr, unit: TimeUnit, zone: Option<Arc<str>>) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), DataType::Timestamp(unit, zone)))
}
