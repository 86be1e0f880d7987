//! The parts of dates and timestamps, as `data/calendar` computes them.

use crate::graph::{ElementType, Graph, Value};

/// The parts of a column of dates or timestamps, each `[rows, 1]`.
pub(super) struct Calendar {
    /// Days or seconds since 1970, and the day of the month, in double precision.
    pub(super) numbers: [Value; 2],
    /// The month from 0, the day of the week from Monday, and for a timestamp the hour, as whole numbers.
    pub(super) codes: Vec<Value>,
}

/// The parts of days since 1970-01-01.
pub(super) fn of_days(graph: &mut Graph, days: &Value) -> Calendar {
    let (month, day) = civil_from_days(graph, days);
    let number = graph.cast(days, ElementType::Float64);
    Calendar {
        numbers: [number, graph.cast(&day, ElementType::Float64)],
        codes: vec![month, day_of_week(graph, days)],
    }
}

/// The parts of microseconds since 1970-01-01 in UTC.
pub(super) fn of_microseconds(graph: &mut Graph, microseconds: &Value) -> Calendar {
    let seconds = floor_div(graph, microseconds, 1_000_000);
    let days = floor_div(graph, &seconds, 86_400);
    let (month, day) = civil_from_days(graph, &days);
    let of_day = with(graph, "Mod", &seconds, 86_400);
    let hour = with(graph, "Div", &of_day, 3_600);
    let number = graph.cast(microseconds, ElementType::Float64);
    let million = graph.doubles("million", &[], &[1e6]);
    let number = graph.node("Div", &[&number, &million], vec![]);
    Calendar {
        numbers: [number, graph.cast(&day, ElementType::Float64)],
        codes: vec![month, day_of_week(graph, &days), hour],
    }
}

/// A node of a value and a whole number.
fn with(graph: &mut Graph, operator: &str, x: &Value, integer: i64) -> Value {
    let integer = graph.integers("integer", &[], &[integer]);
    graph.node(operator, &[x, &integer], vec![])
}

/// The quotient that is rounded down: ONNX's `Div` rounds towards 0, its `Mod` has the sign of the divisor.
fn floor_div(graph: &mut Graph, x: &Value, divisor: i64) -> Value {
    let rest = with(graph, "Mod", x, divisor);
    let multiple = graph.node("Sub", &[x, &rest], vec![]);
    with(graph, "Div", &multiple, divisor)
}

/// 1970-01-01 was a Thursday.
fn day_of_week(graph: &mut Graph, days: &Value) -> Value {
    let days = with(graph, "Add", days, 3);
    with(graph, "Mod", &days, 7)
}

/// The month from 0 and the day of the month from 1. The computation starts the year in March; all its numbers are from 0.
fn civil_from_days(graph: &mut Graph, days: &Value) -> (Value, Value) {
    let day_of_era = with(graph, "Add", days, 719_468);
    let day_of_era = with(graph, "Mod", &day_of_era, 146_097);
    let leap_days = with(graph, "Div", &day_of_era, 1_460);
    let centuries = with(graph, "Div", &day_of_era, 36_524);
    let eras = with(graph, "Div", &day_of_era, 146_096);
    let year_of_era = graph.node("Sub", &[&day_of_era, &leap_days], vec![]);
    let year_of_era = graph.node("Add", &[&year_of_era, &centuries], vec![]);
    let year_of_era = graph.node("Sub", &[&year_of_era, &eras], vec![]);
    let year_of_era = with(graph, "Div", &year_of_era, 365);
    let days_of_years = with(graph, "Mul", &year_of_era, 365);
    let leap_years = with(graph, "Div", &year_of_era, 4);
    let no_leap_years = with(graph, "Div", &year_of_era, 100);
    let days_of_years = graph.node("Add", &[&days_of_years, &leap_years], vec![]);
    let days_of_years = graph.node("Sub", &[&days_of_years, &no_leap_years], vec![]);
    let day_of_year = graph.node("Sub", &[&day_of_era, &days_of_years], vec![]);
    let month_from_march = with(graph, "Mul", &day_of_year, 5);
    let month_from_march = with(graph, "Add", &month_from_march, 2);
    let month_from_march = with(graph, "Div", &month_from_march, 153);
    let before_month = with(graph, "Mul", &month_from_march, 153);
    let before_month = with(graph, "Add", &before_month, 2);
    let before_month = with(graph, "Div", &before_month, 5);
    let day = graph.node("Sub", &[&day_of_year, &before_month], vec![]);
    let day = with(graph, "Add", &day, 1);
    let is_this_year = with(graph, "Less", &month_from_march, 10);
    let this_year = with(graph, "Add", &month_from_march, 2);
    let next_year = with(graph, "Sub", &month_from_march, 10);
    let month = graph.node("Where", &[&is_this_year, &this_year, &next_year], vec![]);
    (month, day)
}
