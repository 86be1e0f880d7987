//! Comparisons of times with different units.

use std::sync::Arc;

use datafusion::arrow::datatypes::TimeUnit;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, InList, InSubquery, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Join, LogicalPlan, LogicalPlanBuilder, Operator};
use vatic_udfs::time::exact_time;

use super::{Kind, align, cast_to, constant};

/// Rewrites a comparison or a difference of times.
pub(super) fn binary(binary: BinaryExpr, schema: &DFSchema) -> Transformed<Expr> {
    let BinaryExpr { left, op, right } = binary;
    let pair = match op {
        Operator::Minus => align::pair(&left, &right, schema),
        op if is_comparison(op) => compared(&left, &right, schema),
        _ => None,
    };
    match pair {
        Some((left, right)) => {
            let binary = BinaryExpr::new(Box::new(left), op, Box::new(right));
            Transformed::yes(Expr::BinaryExpr(binary))
        }
        None => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    let all = [
        Eq,
        NotEq,
        Lt,
        LtEq,
        Gt,
        GtEq,
        IsDistinctFrom,
        IsNotDistinctFrom,
    ];
    all.contains(&op)
}

/// Rewrites `BETWEEN` as two comparisons, if one of them compares different units.
pub(super) fn between(between: Between, schema: &DFSchema) -> Transformed<Expr> {
    let Between {
        expr,
        negated,
        low,
        high,
    } = between;
    let over = compared(&expr, &low, schema);
    let under = compared(&expr, &high, schema);
    if (over.is_none() && under.is_none()) || expr.is_volatile() {
        return Transformed::no(Expr::Between(Between::new(expr, negated, low, high)));
    }
    let (over_expr, low) = over.unwrap_or_else(|| (expr.as_ref().clone(), *low));
    let (under_expr, high) = under.unwrap_or((*expr, *high));
    Transformed::yes(match negated {
        false => over_expr.gt_eq(low).and(under_expr.lt_eq(high)),
        true => over_expr.lt(low).or(under_expr.gt(high)),
    })
}

/// Rewrites `IN (…)`: all values get the unit of the expression, or all become exact times.
pub(super) fn in_list(list: InList, schema: &DFSchema) -> Transformed<Expr> {
    let pairs = list
        .list
        .iter()
        .map(|item| compared(&list.expr, item, schema));
    let pairs: Vec<_> = pairs.collect();
    if pairs.iter().all(Option::is_none) {
        return Transformed::no(Expr::InList(list));
    }
    let items = list.list.iter().zip(pairs).map(|(item, pair)| match pair {
        // The expression itself did not change.
        Some((expr, item)) if expr == *list.expr => Some(item),
        Some(_) => None,
        None => Some(item.clone()),
    });
    let (expr, items) = match items.collect::<Option<Vec<_>>>() {
        Some(items) => (list.expr.as_ref().clone(), items),
        None => {
            let Kind::Time(_, zone) = Kind::of(&list.expr, schema) else {
                return Transformed::no(Expr::InList(list));
            };
            let exact = list.list.iter().map(|item| exactly(item, &zone, schema));
            match exact.collect::<Option<Vec<_>>>() {
                Some(items) => (exact_call(list.expr.as_ref().clone()), items),
                None => return Transformed::no(Expr::InList(list)),
            }
        }
    };
    Transformed::yes(Expr::InList(InList::new(
        Box::new(expr),
        items,
        list.negated,
    )))
}

/// Rewrites `IN (SELECT …)`.
pub(super) fn in_subquery(list: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let schema_of_subquery = Arc::clone(list.subquery.subquery.schema());
    if schema_of_subquery.fields().is_empty() {
        return Ok(Transformed::no(Expr::InSubquery(list)));
    }
    let (qualifier, field) = schema_of_subquery.qualified_field(0);
    let column = Expr::from((qualifier, field));
    let (own, other) = (
        Kind::of(&list.expr, schema),
        Kind::of_type(field.data_type()),
    );
    let Some((expr, column)) = mixed(&list.expr, own, &column, other) else {
        return Ok(Transformed::no(Expr::InSubquery(list)));
    };
    let mut subquery = list.subquery.clone();
    let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(subquery.subquery));
    subquery.subquery = Arc::new(plan.project([column.alias("exact_time")])?.build()?);
    let list = InSubquery::new(Box::new(expr), subquery, list.negated);
    Ok(Transformed::yes(Expr::InSubquery(list)))
}

/// Rewrites the keys of a join, which are pairs of expressions instead of comparisons.
pub(super) fn join(mut join: Join) -> Result<Transformed<LogicalPlan>> {
    let mut is_changed = false;
    for (left, right) in &mut join.on {
        let kinds = (
            Kind::of(left, join.left.schema()),
            Kind::of(right, join.right.schema()),
        );
        if let Some(pair) = mixed(left, kinds.0, right, kinds.1) {
            (*left, *right) = pair;
            is_changed = true;
        }
    }
    let plan = LogicalPlan::Join(join);
    Ok(match is_changed {
        true => Transformed::yes(plan),
        false => Transformed::no(plan),
    })
}

/// Both sides in a type that holds both; `None` if DataFusion's coercion is right.
fn compared(left: &Expr, right: &Expr, schema: &DFSchema) -> Option<(Expr, Expr)> {
    let kinds = (Kind::of(left, schema), Kind::of(right, schema));
    if !matches!(kinds.0, Kind::Time(..)) && !matches!(kinds.1, Kind::Time(..)) {
        return None;
    }
    let values = (constant::value(left), constant::value(right));
    let is_same =
        |a: &Kind, b: &Kind| matches!((a, b), (Kind::Time(a, _), Kind::Time(b, _)) if a == b);
    // A constant that is still a text has digits that no timestamp holds.
    let is_beyond = |value: &Option<ScalarValue>| value.as_ref().is_some_and(constant::is_text);
    if is_same(&kinds.0, &kinds.1) && !is_beyond(&values.0) && !is_beyond(&values.1) {
        return None;
    }
    match values {
        (Some(value), None) => {
            let (right, left) = beside(right, &kinds.1, &value, schema, &kinds.0)?;
            Some((left, right))
        }
        (None, Some(value)) => beside(left, &kinds.0, &value, schema, &kinds.1),
        (Some(left), Some(right)) => constants(&left, &right),
        (None, None) => mixed(left, kinds.0, right, kinds.1),
    }
}

/// A time beside a constant.
fn beside(
    time: &Expr,
    kind: &Kind,
    value: &ScalarValue,
    schema: &DFSchema,
    value_kind: &Kind,
) -> Option<(Expr, Expr)> {
    let Kind::Time(unit, zone) = kind else {
        return beside_time(time, kind, value, value_kind);
    };
    let moment = constant::moment(value, zone.as_deref())?;
    if let Some(timestamp) = constant::timestamp(moment, *unit, zone.clone()) {
        // DataFusion uses nanoseconds anyway.
        if *unit == TimeUnit::Nanosecond {
            return None;
        }
        return Some((time.clone(), Expr::Literal(timestamp, None)));
    }
    // The time of the statement is the same for every row, so truncating it to microseconds changes nothing.
    if let Some(now) = align::statement_time(time, TimeUnit::Microsecond, schema)
        && let Some(timestamp) = constant::timestamp(moment, TimeUnit::Microsecond, zone.clone())
    {
        return Some((now, Expr::Literal(timestamp, None)));
    }
    Some((exact_call(time.clone()), exact_literal(moment)))
}

/// A date or a text beside a constant time.
fn beside_time(
    expr: &Expr,
    kind: &Kind,
    value: &ScalarValue,
    value_kind: &Kind,
) -> Option<(Expr, Expr)> {
    let Kind::Time(unit, zone) = value_kind else {
        return None;
    };
    match kind {
        // Nanoseconds cannot hold every date.
        Kind::Date if zone.is_none() => {
            let moment = constant::moment(value, None)?;
            Some(
                match constant::timestamp(moment, TimeUnit::Microsecond, None) {
                    Some(timestamp) => (
                        cast_to(expr.clone(), TimeUnit::Microsecond, None),
                        Expr::Literal(timestamp, None),
                    ),
                    None => (
                        exact_call(cast_to(expr.clone(), TimeUnit::Second, None)),
                        exact_literal(moment),
                    ),
                },
            )
        }
        Kind::Text => {
            let moment = constant::moment(value, zone.as_deref())?;
            // DataFusion's comparison is exact if nanoseconds hold the constant.
            let is_wide = *unit != TimeUnit::Nanosecond || i64::try_from(moment).is_err();
            is_wide.then(|| (exact_text(expr.clone(), zone), exact_literal(moment)))
        }
        _ => None,
    }
}

/// Two constants, if nanoseconds cannot hold one of them.
fn constants(left: &ScalarValue, right: &ScalarValue) -> Option<(Expr, Expr)> {
    let moments = (
        constant::moment(left, None)?,
        constant::moment(right, None)?,
    );
    let is_far = |moment: i128| i64::try_from(moment).is_err();
    (is_far(moments.0) || is_far(moments.1))
        .then(|| (exact_literal(moments.0), exact_literal(moments.1)))
}

/// Two expressions that are not constants.
fn mixed(left: &Expr, left_kind: Kind, right: &Expr, right_kind: Kind) -> Option<(Expr, Expr)> {
    match (left_kind, right_kind) {
        (Kind::Time(unit, zone), Kind::Time(other, other_zone)) if unit != other => {
            if let Some(now) = align::statement_time_of(right, unit, &other_zone, other) {
                return Some((left.clone(), now));
            }
            if let Some(now) = align::statement_time_of(left, other, &zone, unit) {
                return Some((now, right.clone()));
            }
            let left = zoned(left.clone(), unit, &zone, &other_zone);
            let right = zoned(right.clone(), other, &other_zone, &zone);
            Some((exact_call(left), exact_call(right)))
        }
        (Kind::Time(unit, _), Kind::Date) => {
            let (time, date) = dated(left, unit, right);
            Some((time, date))
        }
        (Kind::Date, Kind::Time(unit, _)) => {
            let (time, date) = dated(right, unit, left);
            Some((date, time))
        }
        (Kind::Time(unit, zone), Kind::Text) if unit != TimeUnit::Nanosecond => {
            Some((exact_call(left.clone()), exact_text(right.clone(), &zone)))
        }
        (Kind::Text, Kind::Time(unit, zone)) if unit != TimeUnit::Nanosecond => {
            Some((exact_text(left.clone(), &zone), exact_call(right.clone())))
        }
        _ => None,
    }
}

/// A time and a date. As in DataFusion, the date begins at midnight of the time's own clock.
fn dated(time: &Expr, unit: TimeUnit, date: &Expr) -> (Expr, Expr) {
    let local = cast_to(time.clone(), unit, None);
    match unit {
        // These units hold every date.
        TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond => {
            (local, cast_to(date.clone(), unit, None))
        }
        TimeUnit::Nanosecond => (
            exact_call(local),
            exact_call(cast_to(date.clone(), TimeUnit::Second, None)),
        ),
    }
}

/// As in DataFusion, a time without a zone is in the zone of the other side.
fn zoned(expr: Expr, unit: TimeUnit, own: &Option<Arc<str>>, other: &Option<Arc<str>>) -> Expr {
    match (own, other) {
        (None, Some(zone)) => cast_to(expr, unit, Some(Arc::clone(zone))),
        _ => expr,
    }
}

fn exactly(item: &Expr, zone: &Option<Arc<str>>, schema: &DFSchema) -> Option<Expr> {
    if matches!(item, Expr::Literal(value, _) if value.is_null()) {
        return Some(Expr::Literal(ScalarValue::Decimal128(None, 38, 0), None));
    }
    if let Some(value) = constant::value(item) {
        return constant::moment(&value, zone.as_deref()).map(exact_literal);
    }
    match Kind::of(item, schema) {
        Kind::Time(unit, own) => Some(exact_call(zoned(item.clone(), unit, &own, zone))),
        Kind::Text => Some(exact_text(item.clone(), zone)),
        Kind::Date | Kind::Other => None,
    }
}

fn exact_call(expr: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(exact_time(), vec![expr]))
}

/// The exact time of a text that is read in this zone.
fn exact_text(expr: Expr, zone: &Option<Arc<str>>) -> Expr {
    let zone = zone
        .as_deref()
        .map(|zone| Expr::Literal(ScalarValue::from(zone), None));
    let args = std::iter::once(expr).chain(zone).collect();
    Expr::ScalarFunction(ScalarFunction::new_udf(exact_time(), args))
}

fn exact_literal(moment: i128) -> Expr {
    Expr::Literal(ScalarValue::Decimal128(Some(moment), 38, 0), None)
}
