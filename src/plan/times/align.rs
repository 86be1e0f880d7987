//! Alignment of the units of times that meet in one column: branches of CASE, arguments of `coalesce`, rows of VALUES and
//! UNION, and the two sides of a difference. Constants take the unit of the columns if they lose nothing; `now()` loses the
//! digits that the columns do not have.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Case, ScalarFunction};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Union, Values, Volatility};

use super::{Kind, cast_to, constant};

/// Functions that return one of their arguments.
const CHOOSING: &[&str] = &[
    "coalesce", "nullif", "greatest", "least", "nvl", "ifnull", "nvl2",
];

/// The expressions in one unit, if a constant among them has another unit; `None` if they need no change.
fn aligned(exprs: &[Expr], kinds: &[Kind]) -> Option<Vec<Expr>> {
    let values: Vec<_> = exprs.iter().map(constant::value).collect();
    let is_fixed = |index: usize| values[index].is_some() || is_statement_time(&exprs[index]);
    let times = |fixed: bool| {
        let all = kinds.iter().enumerate();
        all.filter_map(move |(index, kind)| match kind {
            Kind::Time(unit, zone) if is_fixed(index) == fixed => Some((*unit, zone.clone())),
            _ => None,
        })
    };
    // The finest unit of the columns, as in DataFusion; else the coarsest of the constants, chosen because no other holds it.
    let finest = times(false).max_by_key(|(unit, _)| *unit);
    let (unit, zone) = finest.or_else(|| times(true).min_by_key(|(unit, _)| *unit))?;
    if unit == TimeUnit::Nanosecond {
        return None;
    }
    let mut is_changed = false;
    let mut moved = Vec::with_capacity(exprs.len());
    for (index, (expr, kind)) in exprs.iter().zip(kinds).enumerate() {
        let is_other = match kind {
            Kind::Time(own, _) => *own != unit,
            Kind::Date => true,
            Kind::Text | Kind::Other => false,
        };
        let expr = match (&values[index], kind) {
            _ if !is_other => expr.clone(),
            (Some(value), _) => {
                let moment = constant::moment(value, zone.as_deref())?;
                Expr::Literal(constant::timestamp(moment, unit, zone.clone())?, None)
            }
            (None, Kind::Time(_, own)) if is_statement_time(expr) => {
                cast_to(expr.clone(), unit, own.clone())
            }
            (None, Kind::Date) if zone.is_none() => cast_to(expr.clone(), unit, None),
            // Columns of two units: the finer one holds both, or the cast fails.
            _ => return None,
        };
        is_changed |= is_other;
        moved.push(expr);
    }
    is_changed.then_some(moved)
}

fn aligned_in(exprs: &[Expr], schema: &DFSchema) -> Option<Vec<Expr>> {
    let kinds: Vec<Kind> = exprs.iter().map(|expr| Kind::of(expr, schema)).collect();
    aligned(exprs, &kinds)
}

/// Aligns the two sides of a difference.
pub(super) fn pair(left: &Expr, right: &Expr, schema: &DFSchema) -> Option<(Expr, Expr)> {
    let both = aligned_in(&[left.clone(), right.clone()], schema)?;
    let [left, right] = <[Expr; 2]>::try_from(both).ok()?;
    Some((left, right))
}

pub(super) fn case(mut case: Case, schema: &DFSchema) -> Transformed<Expr> {
    let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
    let results: Vec<Expr> = results.chain(case.else_expr.as_deref()).cloned().collect();
    let mut is_changed = false;
    if let Some(results) = aligned_in(&results, schema) {
        let mut results = results.into_iter();
        let thens = case.when_then_expr.iter_mut().map(|(_, then)| then);
        for (old, new) in thens.chain(case.else_expr.as_mut()).zip(results.by_ref()) {
            **old = new;
        }
        is_changed = true;
    }
    if let Some(base) = &case.expr {
        let whens = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
        let all: Vec<Expr> = std::iter::once(base.as_ref())
            .chain(whens)
            .cloned()
            .collect();
        if let Some(all) = aligned_in(&all, schema) {
            let mut all = all.into_iter();
            case.expr = all.next().map(Box::new);
            for ((when, _), new) in case.when_then_expr.iter_mut().zip(all) {
                **when = new;
            }
            is_changed = true;
        }
    }
    match is_changed {
        true => Transformed::yes(Expr::Case(case)),
        false => Transformed::no(Expr::Case(case)),
    }
}

pub(super) fn call(mut call: ScalarFunction, schema: &DFSchema) -> Transformed<Expr> {
    if CHOOSING.contains(&call.func.name())
        && let Some(args) = aligned_in(&call.args, schema)
    {
        call.args = args;
        return Transformed::yes(Expr::ScalarFunction(call));
    }
    Transformed::no(Expr::ScalarFunction(call))
}

/// Aligns the rows of VALUES, whose types were determined before a row became microseconds.
pub(super) fn values(mut values: Values) -> Result<Transformed<LogicalPlan>> {
    let empty = DFSchema::empty();
    let mut fields: Vec<_> = values.schema.fields().iter().map(Arc::clone).collect();
    let mut is_changed = false;
    for (column, field) in fields.iter_mut().enumerate() {
        let DataType::Timestamp(planned, _) = field.data_type() else {
            continue;
        };
        let exprs: Vec<Expr> = values
            .values
            .iter()
            .map(|row| row[column].clone())
            .collect();
        let times = exprs
            .iter()
            .filter_map(|expr| match Kind::of(expr, &empty) {
                Kind::Time(unit, zone) => Some((unit, zone)),
                _ => None,
            });
        let coarsest = times.min_by_key(|(unit, _)| *unit);
        let Some((unit, zone)) = coarsest.filter(|(unit, _)| unit != planned) else {
            continue;
        };
        let exprs = aligned_in(&exprs, &empty).unwrap_or(exprs);
        for (row, expr) in values.values.iter_mut().zip(exprs) {
            row[column] = cast_to(expr, unit, zone.clone());
        }
        let field_type = DataType::Timestamp(unit, zone);
        *field = Arc::new(Field::new(field.name(), field_type, field.is_nullable()));
        is_changed = true;
    }
    if !is_changed {
        return Ok(Transformed::no(LogicalPlan::Values(values)));
    }
    let schema = DFSchema::from_unqualified_fields(fields.into(), Default::default())?;
    values.schema = Arc::new(schema);
    Ok(Transformed::yes(LogicalPlan::Values(values)))
}

/// Aligns the constants that the inputs of UNION select.
pub(super) fn union(mut union: Union) -> Result<Transformed<LogicalPlan>> {
    let width = union
        .inputs
        .first()
        .map_or(0, |input| input.schema().fields().len());
    let mut is_changed = false;
    for column in 0..width {
        let selected: Vec<Expr> = union
            .inputs
            .iter()
            .map(|input| selected(input, column))
            .collect();
        let kinds = union
            .inputs
            .iter()
            .map(|input| match input.schema().fields().get(column) {
                Some(field) => Kind::of_type(field.data_type()),
                None => Kind::Other,
            });
        let kinds: Vec<Kind> = kinds.collect();
        let Some(all) = aligned(&selected, &kinds) else {
            continue;
        };
        for (input, (old, new)) in union.inputs.iter_mut().zip(selected.iter().zip(all)) {
            if let LogicalPlan::Projection(projection) = input.as_ref()
                && *old != new
            {
                let mut exprs = projection.expr.clone();
                let (qualifier, field) = projection.schema.qualified_field(column);
                exprs[column] = new.alias_qualified(qualifier.cloned(), field.name());
                let projection = Projection::try_new(exprs, Arc::clone(&projection.input))?;
                *input = Arc::new(LogicalPlan::Projection(projection));
                is_changed = true;
            }
        }
    }
    if has_other_units(&union) {
        union = Union::try_new_with_loose_types(union.inputs)?;
        is_changed = true;
    }
    let plan = LogicalPlan::Union(union);
    Ok(match is_changed {
        true => Transformed::yes(plan),
        false => Transformed::no(plan),
    })
}

/// Whether the types of the UNION were determined before those of its first input changed.
fn has_other_units(union: &Union) -> bool {
    let first = union.inputs.first().map(|input| input.schema().fields());
    let pairs = union
        .schema
        .fields()
        .iter()
        .zip(first.into_iter().flatten());
    let mut times = pairs.map(|(whole, part)| (whole.data_type(), part.data_type()));
    times.any(|pair| match pair {
        (DataType::Timestamp(whole, _), DataType::Timestamp(part, _)) => whole != part,
        _ => false,
    })
}

/// The expression that an input selects as this column; a column reference if the input is not a projection.
fn selected(input: &LogicalPlan, column: usize) -> Expr {
    match input {
        LogicalPlan::Projection(projection) => projection.expr[column].clone().unalias(),
        _ => Expr::Column(input.schema().columns()[column].clone()),
    }
}

/// The expression cast to this unit, if it consists of `now()` and constants and has a finer unit.
pub(super) fn statement_time(expr: &Expr, unit: TimeUnit, schema: &DFSchema) -> Option<Expr> {
    match Kind::of(expr, schema) {
        Kind::Time(own, zone) => statement_time_of(expr, unit, &zone, own),
        _ => None,
    }
}

pub(super) fn statement_time_of(
    expr: &Expr,
    unit: TimeUnit,
    zone: &Option<Arc<str>>,
    own: TimeUnit,
) -> Option<Expr> {
    let is_coarser = unit < own;
    (is_coarser && is_statement_time(expr)).then(|| cast_to(expr.clone(), unit, zone.clone()))
}

/// Whether an expression consists of `now()` and constants.
fn is_statement_time(expr: &Expr) -> bool {
    let mut is_stable = false;
    let found = expr.apply(|node| {
        match node {
            Expr::Column(_) | Expr::OuterReferenceColumn(..) => return Ok(TreeNodeRecursion::Stop),
            Expr::ScalarFunction(call) => match call.func.signature().volatility {
                Volatility::Stable => is_stable = true,
                Volatility::Volatile => return Ok(TreeNodeRecursion::Stop),
                Volatility::Immutable => {}
            },
            Expr::BinaryExpr(_) | Expr::Cast(_) | Expr::Alias(_) | Expr::Literal(..) => {}
            _ => return Ok(TreeNodeRecursion::Stop),
        }
        Ok(TreeNodeRecursion::Continue)
    });
    is_stable && matches!(found, Ok(TreeNodeRecursion::Continue))
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn a_constant_takes_the_unit_of_a_column_only_without_loss() {
        let kinds = |unit| {
            vec![
                Kind::Time(TimeUnit::Microsecond, None),
                Kind::Time(unit, None),
            ]
        };
        let nanoseconds = |value| lit(ScalarValue::TimestampNanosecond(Some(value), None));
        let all = |value| {
            aligned(
                &[col("a"), nanoseconds(value)],
                &kinds(TimeUnit::Nanosecond),
            )
        };
        let expected = lit(ScalarValue::TimestampMicrosecond(Some(2), None));
        assert_eq!(all(2_000), Some(vec![col("a"), expected]));
        assert_eq!(all(2_001), None);
    }
}
