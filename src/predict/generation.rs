//! [`take`]: the named arguments of calls that say how a model writes text.

use datafusion::common::Result;
use datafusion::scalar::ScalarValue;
use vatic_ml::model::generation::Generation;

use crate::plan::argument_values::{as_number, flag, number, texts, whole};
use crate::plan::table_function::argument_err;

/// The arguments.
pub(super) const ARGUMENTS: [&str; 6] =
    ["max_tokens", "temperature", "seed", "stop", "top_p", "chat"];
/// The most tokens that a call may ask for.
const TOKENS_MAX: i64 = 1 << 16;
const TEMPERATURE_MAX: f64 = 100.0;
/// The most texts that end a text.
const STOPS_MAX: usize = 16;

/// Takes over one of the arguments.
pub(super) fn take(how: &mut Generation, name: &str, value: &ScalarValue) -> Result<()> {
    let wrong = |expected: &str| argument_err(name, expected, value);
    match name {
        "max_tokens" => how.tokens_max = whole(name, value, 1..=TOKENS_MAX)?,
        "temperature" => how.temperature = number(name, value, 0.0..=TEMPERATURE_MAX)?,
        "seed" => {
            let seed = match value {
                ScalarValue::Int64(Some(seed)) => u64::try_from(*seed).ok(),
                _ => None,
            };
            how.seed = seed.ok_or_else(|| wrong("a whole number from 0"))?;
        }
        "top_p" => {
            let number = as_number(value).filter(|number| *number > 0.0 && *number <= 1.0);
            how.top_p = number.ok_or_else(|| wrong("a number above 0 and up to 1"))?;
        }
        "chat" => how.chat = Some(flag(name, value)?),
        _ => {
            let texts = one_or_more(value).filter(|texts| (1..=STOPS_MAX).contains(&texts.len()));
            let texts = texts.filter(|texts| texts.iter().all(|text| !text.is_empty()));
            let expected =
                format!("a text, or a list of up to {STOPS_MAX} texts, that are not empty");
            how.stop = texts.ok_or_else(|| wrong(&expected))?;
        }
    }
    Ok(())
}

/// One text, or those of a list.
fn one_or_more(value: &ScalarValue) -> Option<Vec<String>> {
    match value.try_as_str() {
        Some(text) => text.map(|text| vec![text.to_owned()]),
        None => texts(value),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;

    use super::*;
    use crate::error::{SqlState, report};

    fn list(texts: &[&str]) -> ScalarValue {
        let texts: Vec<ScalarValue> = texts.iter().map(|text| ScalarValue::from(*text)).collect();
        ScalarValue::List(ScalarValue::new_list_nullable(&texts, &DataType::Utf8))
    }

    #[test]
    fn arguments_are_taken_over() {
        let mut how = Generation::default();
        for (name, value) in [
            ("max_tokens", ScalarValue::from(7i64)),
            ("temperature", ScalarValue::from(1i64)),
            ("seed", ScalarValue::from(9i64)),
            ("top_p", ScalarValue::from(0.5)),
            ("chat", ScalarValue::from(false)),
            ("stop", list(&["a", "b"])),
        ] {
            assert!(ARGUMENTS.contains(&name));
            take(&mut how, name, &value).unwrap();
        }
        let expected = Generation {
            tokens_max: 7,
            temperature: 1.0,
            seed: 9,
            top_p: 0.5,
            top_k: None,
            stop: vec!["a".into(), "b".into()],
            chat: Some(false),
        };
        assert_eq!(how, expected);
        take(&mut how, "stop", &ScalarValue::from("c")).unwrap();
        assert_eq!(how.stop, ["c"]);
    }

    #[test]
    fn values_out_of_range_are_refused_with_what_is_expected() {
        for (name, value, expected) in [
            (
                "max_tokens",
                ScalarValue::from(0i64),
                "a whole number from 1 to 65536",
            ),
            (
                "max_tokens",
                ScalarValue::from(1.5),
                "a whole number from 1 to 65536",
            ),
            (
                "temperature",
                ScalarValue::from(-0.1),
                "a number from 0 to 100",
            ),
            ("seed", ScalarValue::from(-1i64), "a whole number from 0"),
            ("top_p", ScalarValue::from(0.0), "a number above 0"),
            ("chat", ScalarValue::from("yes"), "true or false"),
            ("stop", ScalarValue::from(""), "that are not empty"),
            ("stop", list(&[]), "a list of up to 16 texts"),
            ("stop", ScalarValue::Utf8(None), "a text"),
        ] {
            let error = take(&mut Generation::default(), name, &value).unwrap_err();
            let found = report(&error);
            assert_eq!(found.state, SqlState::InvalidParameter);
            assert!(found.message.contains(expected), "{}", found.message);
        }
    }
}
