//! The arguments of a call that change the task of its model: classes that the model was not trained on, and how tokens become entities.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::scalar::ScalarValue;
use vatic_ml::model::arguments::{Aggregation, Arguments, ZeroShot};

use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModel;
use crate::plan::argument_values::{flag, lower_case, texts};
use crate::plan::table_function::{Call, argument_err};

/// The maximum number of classes.
const LABELS_MAX: usize = 1_000;
/// The maximum length of a sentence, in bytes.
const HYPOTHESIS_BYTES_MAX: usize = 10_000;

/// The names of these arguments.
pub(super) const TASK_ARGUMENTS: [&str; 4] = ["labels", "hypothesis", "multi_label", "aggregation"];

/// The model of a call with its task, if the call has one of these arguments; `known` are all arguments that a call may have.
pub(super) fn with_task(call: &Call, known: &[&str]) -> Result<Arc<ResolvedModel>> {
    let mut given = Given::default();
    call.named(known, |name, value| given.take(name, value))?;
    let model = Arc::clone(&call.model);
    let model = match given.zero_shot()? {
        None => model,
        Some(zero_shot) => Arc::new(model.with_arguments(Arguments::ZeroShot(zero_shot))?),
    };
    match given.aggregation {
        None => Ok(model),
        Some(aggregation) => {
            let arguments = Arguments::Aggregation(aggregation);
            Ok(Arc::new(model.with_arguments(arguments)?))
        }
    }
}

#[derive(Default)]
struct Given {
    labels: Option<Vec<String>>,
    hypothesis: Option<String>,
    multi_label: Option<bool>,
    aggregation: Option<Aggregation>,
}

impl Given {
    fn take(&mut self, name: &str, value: &ScalarValue) -> Result<()> {
        match name {
            "labels" => self.labels = Some(labels(name, value)?),
            "hypothesis" => self.hypothesis = Some(hypothesis(name, value)?),
            "multi_label" => self.multi_label = Some(flag(name, value)?),
            "aggregation" => self.aggregation = Some(aggregation(name, value)?),
            _ => {}
        }
        Ok(())
    }

    fn zero_shot(&mut self) -> Result<Option<ZeroShot>> {
        let Some(labels) = self.labels.take() else {
            let alone = match (&self.hypothesis, self.multi_label) {
                (Some(_), _) => "hypothesis",
                (None, Some(_)) => "multi_label",
                (None, None) => return Ok(None),
            };
            let message = format!("argument {alone} needs labels => ['…', '…']");
            return Err(sql_err(SqlState::InvalidParameter, message));
        };
        let multi_label = self.multi_label.unwrap_or(false);
        if labels.len() == 1 && !multi_label {
            let message = "argument labels has one label, which every text would have; give several, or multi_label => true";
            return Err(sql_err(SqlState::InvalidParameter, message));
        }
        let default = || ZeroShot::HYPOTHESIS.to_owned();
        Ok(Some(ZeroShot {
            labels,
            hypothesis: self.hypothesis.take().unwrap_or_else(default),
            multi_label,
        }))
    }
}

/// Different texts, ascending.
fn labels(name: &str, value: &ScalarValue) -> Result<Vec<String>> {
    let expected = format!("a list of 1 to {LABELS_MAX} different texts");
    let wrong = || argument_err(name, &expected, value);
    let texts = texts(value).ok_or_else(wrong)?;
    let count = texts.len();
    let labels: BTreeSet<String> = texts.into_iter().collect();
    let is_right = labels.len() == count
        && (1..=LABELS_MAX).contains(&count)
        && !labels.iter().any(|label| label.trim().is_empty());
    match is_right {
        true => Ok(labels.into_iter().collect()),
        false => Err(wrong()),
    }
}

fn hypothesis(name: &str, value: &ScalarValue) -> Result<String> {
    let place = ZeroShot::PLACE;
    let text = value.try_as_str().flatten().unwrap_or_default();
    match text.matches(place).count() {
        1 if text.len() <= HYPOTHESIS_BYTES_MAX => Ok(text.to_owned()),
        _ => {
            let expected = format!(
                "a text of at most {HYPOTHESIS_BYTES_MAX} bytes in which {place} stands once for a label"
            );
            Err(argument_err(name, &expected, value))
        }
    }
}

fn aggregation(name: &str, value: &ScalarValue) -> Result<Aggregation> {
    let text = lower_case(value);
    let mut known = Aggregation::ALL.iter();
    let found = known.find(|(name, _)| *name == text);
    found.map(|(_, found)| *found).ok_or_else(|| {
        let names: Vec<&str> = Aggregation::ALL.iter().map(|(name, _)| *name).collect();
        argument_err(name, &format!("one of '{}'", names.join("', '")), value)
    })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;

    use super::*;
    use crate::error::report;

    fn list(texts: &[&str]) -> ScalarValue {
        let texts: Vec<ScalarValue> = texts.iter().map(|text| ScalarValue::from(*text)).collect();
        ScalarValue::List(ScalarValue::new_list(&texts, &DataType::Utf8, true))
    }

    fn zero_shot(given: &[(&str, ScalarValue)]) -> Result<Option<ZeroShot>, String> {
        let mut taken = Given::default();
        for (name, value) in given {
            let took = taken.take(name, value);
            took.map_err(|error| report(&error).message)?;
        }
        let found = taken.zero_shot();
        found.map_err(|error| report(&error).message)
    }

    #[test]
    fn labels_are_sorted_and_have_a_sentence() {
        let found = zero_shot(&[("labels", list(&["b", "a"]))]).unwrap();
        let expected = ZeroShot {
            labels: vec!["a".into(), "b".into()],
            hypothesis: "This example is {}.".into(),
            multi_label: false,
        };
        assert_eq!(found, Some(expected));
        assert_eq!(zero_shot(&[("batch_size", 1i64.into())]), Ok(None));
        let one = [("labels", list(&["a"])), ("multi_label", true.into())];
        assert_eq!(zero_shot(&one).unwrap().unwrap().labels, ["a"]);
    }

    #[test]
    fn arguments_that_make_no_task_are_refused() {
        let labels = || ("labels", list(&["a", "b"]));
        for (given, expected) in [
            (
                vec![("labels", list(&["a", "a"]))],
                "argument labels is [a, a]; expected a list of 1 to 1000 different texts",
            ),
            (
                vec![("labels", list(&[]))],
                "argument labels is []; expected",
            ),
            (
                vec![("labels", list(&["a", " "]))],
                "argument labels is [a,  ]; expected",
            ),
            (
                vec![("labels", "a".into())],
                "argument labels is 'a'; expected",
            ),
            (
                vec![("labels", list(&["a"]))],
                "has one label, which every text",
            ),
            (
                vec![labels(), ("hypothesis", "no place".into())],
                "argument hypothesis is 'no place'; expected a text of at most 10000 bytes in which {} stands once for a label",
            ),
            (
                vec![labels(), ("hypothesis", "{} and {}".into())],
                "in which {} stands once",
            ),
            (
                vec![labels(), ("hypothesis", 1i64.into())],
                "argument hypothesis is 1;",
            ),
            (
                vec![labels(), ("multi_label", "true".into())],
                "argument multi_label is 'true'; expected true or false",
            ),
            (
                vec![("hypothesis", "{}".into())],
                "argument hypothesis needs labels => ['…', '…']",
            ),
            (
                vec![("multi_label", false.into())],
                "argument multi_label needs labels",
            ),
            (
                vec![("aggregation", "mean".into())],
                "argument aggregation is 'mean'; expected one of 'none', 'simple', 'first', 'average', 'max'",
            ),
        ] {
            let error = zero_shot(&given).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
