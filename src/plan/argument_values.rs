//! The values of named arguments of calls: numbers, flags, names and texts.

use std::ops::RangeInclusive;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::scalar::ScalarValue;

use crate::plan::table_function::argument_err;

/// A whole number in a range from 0 or more.
pub(crate) fn whole(name: &str, value: &ScalarValue, range: RangeInclusive<i64>) -> Result<usize> {
    match value {
        ScalarValue::Int64(Some(number)) if range.contains(number) => Ok(*number as usize),
        other => {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            Err(argument_err(name, &expected, other))
        }
    }
}

/// A whole number from 1 to 1,000,000.
pub(crate) fn positive(name: &str, value: &ScalarValue) -> Result<usize> {
    whole(name, value, 1..=1_000_000)
}

/// A number in a range.
pub(crate) fn number(name: &str, value: &ScalarValue, range: RangeInclusive<f64>) -> Result<f64> {
    let found = as_number(value).filter(|number| range.contains(number));
    found.ok_or_else(|| {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        argument_err(name, &expected, value)
    })
}

/// The number that a value is.
pub(crate) fn as_number(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::Float64(number) => *number,
        ScalarValue::Int64(number) => number.map(|number| number as f64),
        _ => None,
    }
}

/// True or false.
pub(crate) fn flag(name: &str, value: &ScalarValue) -> Result<bool> {
    match value {
        ScalarValue::Boolean(Some(flag)) => Ok(*flag),
        other => Err(argument_err(name, "true or false", other)),
    }
}

/// The text in lower case; empty if the value is not a text.
pub(crate) fn lower_case(value: &ScalarValue) -> String {
    let text = value.try_as_str().flatten().unwrap_or_default();
    text.to_lowercase()
}

/// The one of these names that the value is, in any case.
pub(crate) fn one_of(
    name: &str,
    value: &ScalarValue,
    known: &[&'static str],
) -> Result<&'static str> {
    let text = lower_case(value);
    let expected = || format!("one of '{}'", known.join("', '"));
    known
        .iter()
        .copied()
        .find(|known| *known == text)
        .ok_or_else(|| argument_err(name, &expected(), value))
}

/// The texts of a list; `None` if the value is no list of texts.
pub(crate) fn texts(value: &ScalarValue) -> Option<Vec<String>> {
    let ScalarValue::List(list) = value else {
        return None;
    };
    let texts = list.values();
    if !texts.data_type().is_string() {
        return None;
    }
    let texts = cast(texts, &DataType::Utf8).ok()?;
    let texts = texts.as_string::<i32>().iter();
    texts.map(|text| text.map(str::to_owned)).collect()
}
