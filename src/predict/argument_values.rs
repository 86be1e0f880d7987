//! The values of named arguments: numbers, flags and names.

use datafusion::common::Result;
use datafusion::scalar::ScalarValue;

use crate::plan::table_function::argument_err;

/// A whole number from 1 to 1,000,000.
pub(super) fn positive(name: &str, value: &ScalarValue) -> Result<usize> {
    match value {
        ScalarValue::Int64(Some(number)) if (1..=1_000_000).contains(number) => {
            Ok(*number as usize)
        }
        other => Err(argument_err(
            name,
            "a whole number from 1 to 1000000",
            other,
        )),
    }
}

/// A number from 0 to 1.
pub(super) fn fraction(name: &str, value: &ScalarValue) -> Result<f64> {
    match value {
        ScalarValue::Float64(Some(number)) if (0.0..=1.0).contains(number) => Ok(*number),
        ScalarValue::Int64(Some(number)) if (0..=1).contains(number) => Ok(*number as f64),
        other => Err(argument_err(name, "a number from 0 to 1", other)),
    }
}

/// True or false.
pub(super) fn flag(name: &str, value: &ScalarValue) -> Result<bool> {
    match value {
        ScalarValue::Boolean(Some(flag)) => Ok(*flag),
        other => Err(argument_err(name, "true or false", other)),
    }
}

/// The text in lower case; empty if the value is not a text.
pub(super) fn lower_case(value: &ScalarValue) -> String {
    let text = value.try_as_str().flatten().unwrap_or_default();
    text.to_lowercase()
}

/// The one of these names that the value is, in any case.
pub(super) fn one_of(
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
