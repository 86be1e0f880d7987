//! [`Classes`]: the classes of a model in the order of SQL, and the outputs of the network that belong to them.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use serde_json::Value;

use super::config::Config;
use crate::data::columns::Column;
use crate::data::labels::{
    ClassValue, class_array, predicted_classes, probabilities_type, probability_lists,
};
use crate::data::signature::{Port, PortKind, Values};
use crate::nn::softmax;
use crate::{Error, Result};

/// The column that an imported classifier predicts.
pub(super) const LABEL: &str = "label";
/// The most classes of a model.
pub(super) const CLASSES_MAX: usize = 1 << 16;

/// The classes of a model.
#[derive(Debug)]
pub(super) struct Classes {
    target: Column,
    /// Ascending.
    values: Vec<ClassValue>,
    /// The output of the network for each of them.
    outputs: Vec<usize>,
}

impl Classes {
    /// The classes of a network with `count` outputs: `id2label` or `label_names` of the description; without names, numbers
    /// from 0.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there are more or fewer names than outputs; [`Error::Unsupported`] for a network that does not
    /// choose one of several classes.
    pub(super) fn of(config: &Config, count: usize) -> Result<Self> {
        let unsupported = match config.text("problem_type")? {
            Some(problem) if problem != "single_label_classification" => Some(problem),
            _ => (count < 2).then_some("a model with one output"),
        };
        if let Some(what) = unsupported {
            return Err(Error::Unsupported(format!(
                "{}: {what} is not supported; only models that choose one of several classes are",
                config.file()
            )));
        }
        if count > CLASSES_MAX {
            return Err(Error::Unsupported(format!(
                "the model has {count} classes; at most {CLASSES_MAX} are supported"
            )));
        }
        let (data_type, values) = class_values(config, count)?;
        let mut outputs: Vec<usize> = (0..count).collect();
        outputs.sort_by(|left, right| values[*left].cmp(&values[*right]));
        Ok(Self {
            target: Column {
                name: LABEL.into(),
                data_type,
            },
            values: outputs.iter().map(|at| values[*at].clone()).collect(),
            outputs,
        })
    }

    /// The outputs of the model: the predicted class, and the probability of each class.
    pub(super) fn ports(&self) -> [Port; 2] {
        let name = format!("predicted_{}", self.target.name);
        let probabilities = Port {
            name: format!("{name}_probs"),
            data_type: probabilities_type(&self.target.data_type),
            kind: PortKind::Probabilities {
                target: self.target.name.clone(),
            },
        };
        let label = Port {
            name,
            data_type: self.target.data_type.clone(),
            kind: PortKind::Label {
                target: self.target.clone(),
                classes: self.values.clone(),
                values: Values::One,
            },
        };
        [label, probabilities]
    }

    /// The probabilities of the classes, `[rows, classes]`, from the outputs of the network, `[rows, outputs]`.
    pub(super) fn probabilities(&self, logits: &[f32]) -> Vec<f64> {
        let count = self.outputs.len();
        let mut probabilities = Vec::with_capacity(logits.len());
        for row in logits.chunks_exact(count) {
            let start = probabilities.len();
            let of_classes = self.outputs.iter().map(|output| f64::from(row[*output]));
            probabilities.extend(of_classes);
            softmax(&mut probabilities[start..]);
        }
        probabilities
    }

    /// The predicted class of each row.
    pub(super) fn labels(
        &self,
        probabilities: &[f64],
        threshold: f64,
        valid: Option<&NullBuffer>,
    ) -> Result<ArrayRef> {
        let predicted = predicted_classes(probabilities, self.values.len(), threshold);
        class_array(&self.values, &predicted, valid, &self.target.data_type)
    }

    /// The classes of each row with their probabilities.
    pub(super) fn lists(
        &self,
        probabilities: &[f64],
        top_k: Option<usize>,
        valid: Option<&NullBuffer>,
    ) -> Result<ArrayRef> {
        let data_type = &self.target.data_type;
        probability_lists(&self.values, probabilities, valid, top_k, data_type)
    }
}

/// The classes of a network with `count` outputs in their order, and their type: `id2label` or `label_names` of the description;
/// without names, numbers from 0.
///
/// # Errors
/// [`Error::Corrupt`] if there are more or fewer names than outputs.
pub(super) fn class_values(config: &Config, count: usize) -> Result<(DataType, Vec<ClassValue>)> {
    match names(config)? {
        Some((field, names)) if names.len() != count => {
            let what = format!("has {} names, the model has {count} outputs", names.len());
            Err(config.error(field, what))
        }
        Some((_, names)) => {
            let values = unique(names).into_iter().map(ClassValue::Text);
            Ok((DataType::Utf8, values.collect()))
        }
        None => {
            let values = (0..count as i64).map(ClassValue::Integer);
            Ok((DataType::Int64, values.collect()))
        }
    }
}

/// The names of the outputs in their order, with the name of their field.
fn names(config: &Config) -> Result<Option<(&'static str, Vec<String>)>> {
    if let Some(names) = config.texts("label_names")? {
        return Ok(Some(("label_names", names)));
    }
    let field = "id2label";
    let Some(labels) = config.get(field) else {
        return Ok(None);
    };
    let wrong = || {
        let what = "is no object with a name for each number from 0";
        config.error(field, what)
    };
    let labels = labels.as_object().ok_or_else(wrong)?;
    let mut names = vec![None; labels.len()];
    for (id, label) in labels {
        let place = id.parse::<usize>().ok().and_then(|id| names.get_mut(id));
        let name = match label {
            Value::String(name) => Some(name.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        *place.ok_or_else(wrong)? = name;
    }
    let names: Option<Vec<String>> = names.into_iter().collect();
    names.map(|names| Some((field, names))).ok_or_else(wrong)
}

/// The names; those of several outputs get the number of the output, since each output is a class of its own.
fn unique(names: Vec<String>) -> Vec<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for name in &names {
        *counts.entry(name.clone()).or_default() += 1;
    }
    let numbered = names
        .into_iter()
        .enumerate()
        .map(|(id, name)| match counts.get(&name) {
            Some(1) | None => name,
            Some(_) => format!("{name} ({id})"),
        });
    numbered.collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use super::*;

    fn classes(config: &str, count: usize) -> Result<Classes> {
        Classes::of(
            &Config::parse("config.json", config.as_bytes()).unwrap(),
            count,
        )
    }

    #[test]
    fn classes_are_ascending_and_keep_their_outputs() {
        let config = r#"{"id2label": {"0": "dog", "2": "crane", "1": "ant", "3": "crane"}}"#;
        let classes = classes(config, 4).unwrap();
        let texts: Vec<String> = classes.values.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["ant", "crane (2)", "crane (3)", "dog"]);
        let probabilities = classes.probabilities(&[0.0, 9.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0]);
        let labels = classes.labels(&probabilities, 0.5, None).unwrap();
        let labels = labels.as_string::<i32>();
        assert_eq!((labels.value(0), labels.value(1)), ("ant", "dog"));
        assert!((probabilities[..4].iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn without_names_classes_are_numbers() {
        let classes = classes("{}", 12).unwrap();
        let mut logits = vec![0.0; 12];
        logits[10] = 3.0;
        let labels = classes.labels(&classes.probabilities(&logits), 0.5, None);
        assert_eq!(labels.unwrap().as_primitive::<Int64Type>().value(0), 10);
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        for (config, count, expected) in [
            (
                r#"{"label_names": ["a"]}"#,
                2,
                "label_names has 1 names, the model has 2 outputs",
            ),
            (
                r#"{"id2label": {"0": "a", "2": "b"}}"#,
                2,
                "id2label is no object",
            ),
            (r#"{"id2label": ["a", "b"]}"#, 2, "id2label is no object"),
            (
                r#"{"problem_type": "multi_label_classification"}"#,
                2,
                "multi_label_classification is not",
            ),
            ("{}", 1, "a model with one output is not supported"),
            (
                r#"{"problem_type": "single_label_classification"}"#,
                1,
                "a model with one output is not supported",
            ),
        ] {
            let error = classes(config, count).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
