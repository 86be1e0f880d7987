//! [`named_arguments`]: the named arguments of a call, from the text in JSON that carries them.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use datafusion::scalar::ScalarValue;
use serde_json::{Map, Value};

use crate::error::{SqlState, sql_err};

/// The names and values of the arguments in a text that [`crate::sql::prepare_calls`] wrote.
pub(super) fn named_arguments(text: &str) -> Result<Vec<(String, ScalarValue)>> {
    let arguments: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        let message = format!("the named arguments of a call cannot be read: {error}");
        sql_err(SqlState::Internal, message)
    })?;
    let arguments = arguments.into_iter();
    arguments
        .map(|(name, value)| {
            let value = scalar(&value).ok_or_else(|| wrong(&name, &value))?;
            Ok((name, value))
        })
        .collect()
}

fn scalar(value: &Value) -> Option<ScalarValue> {
    Some(match value {
        Value::Bool(value) => ScalarValue::from(*value),
        Value::String(text) => ScalarValue::from(text.as_str()),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => ScalarValue::from(whole),
            None => ScalarValue::from(number.as_f64()?),
        },
        Value::Array(values) => {
            let values = values.iter().map(scalar).collect::<Option<Vec<_>>>()?;
            let item = values
                .first()
                .map_or(DataType::Null, ScalarValue::data_type);
            if values.iter().any(|value| value.data_type() != item) {
                return None;
            }
            ScalarValue::List(ScalarValue::new_list_nullable(&values, &item))
        }
        Value::Null | Value::Object(_) => return None,
    })
}

fn wrong(name: &str, value: &Value) -> DataFusionError {
    let message =
        format!("argument {name} is {value}; expected a value, or a list of values of one type");
    sql_err(SqlState::InvalidParameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_types() {
        let named = named_arguments(r#"{"a":1,"b":-1.5,"c":"it's","d":true,"e":["x","y"],"f":[]}"#);
        let named = named.unwrap();
        let shown: Vec<String> = named
            .iter()
            .map(|(name, value)| format!("{name} {} {value}", value.data_type()))
            .collect();
        assert_eq!(
            shown[..4],
            [
                "a Int64 1",
                "b Float64 -1.5",
                "c Utf8 it's",
                "d Boolean true"
            ]
        );
        let ScalarValue::List(texts) = &named[4].1 else {
            panic!("{:?}", named[4])
        };
        assert_eq!(texts.value(0).len(), 2);
        let ScalarValue::List(none) = &named[5].1 else {
            panic!("{:?}", named[5])
        };
        assert!(none.value(0).is_empty());
    }

    #[test]
    fn a_list_of_mixed_types_is_refused() {
        let error = named_arguments(r#"{"stop":["a",1]}"#).unwrap_err();
        assert_eq!(crate::report(&error).state, SqlState::InvalidParameter);
    }
}
