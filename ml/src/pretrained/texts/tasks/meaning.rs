//! [`Meaning`]: what the outputs of a classifier of texts are: classes, a set of labels, numbers, or a score of a pair.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::{DataType, Field};

use super::cross_encoder::ScoreFunction;
use crate::data::columns::Column;
use crate::data::inputs::RowReport;
use crate::data::labels::{ClassValue, LabelForm, Labels};
use crate::data::signature::{Port, PortKind};
use crate::model::predicted::Predicted;
use crate::model::trained::output_ports;
use crate::model::{Outputs, Wanted};
use crate::pretrained::classes::{CLASSES_MAX, LABEL, class_values};
use crate::pretrained::config::Config;
use crate::{Error, Result};

/// The column of the score of a pair.
const SCORE: &str = "score";

/// What the outputs of a classifier are.
#[derive(Debug)]
pub(super) struct Meaning {
    ports: Vec<Port>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// What the target of a training may be, and the outputs of the network for its classes in ascending order.
    Labels {
        labels: Labels,
        data_type: DataType,
        outputs: Vec<usize>,
    },
    /// How well two texts fit each other.
    Score(ScoreFunction),
}

impl Meaning {
    /// That of a network of one text with so many outputs, as `problem_type` and `id2label` of the description say it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another problem; [`Error::Corrupt`] for more or fewer names than outputs.
    pub(super) fn of(config: &Config, count: usize) -> Result<Self> {
        let field = "problem_type";
        match (config.text(field)?, count) {
            (Some("regression"), 1) | (None, 1) => Ok(Self::numbers(1)),
            (Some("regression"), count) => Ok(Self::numbers(count)),
            (Some("single_label_classification"), 1) => Err(Error::Unsupported(format!(
                "{}: a model of one class is not supported, since every text would have it",
                config.file()
            ))),
            (Some("multi_label_classification"), _) => Self::classes(config, count, true),
            (Some("single_label_classification") | None, _) => Self::classes(config, count, false),
            (Some(other), _) => Err(Error::Unsupported(format!(
                "{}: {field} \"{other}\" is not supported; this build knows single_label_classification, \
                 multi_label_classification and regression",
                config.file()
            ))),
        }
    }

    /// That of a network of two texts: one output is a score, unless it is one of several.
    ///
    /// # Errors
    /// Those of [`Meaning::of`].
    pub(super) fn of_pair(config: &Config, count: usize, function: ScoreFunction) -> Result<Self> {
        match count {
            1 => Ok(Self {
                ports: vec![Port {
                    name: SCORE.into(),
                    data_type: DataType::Float64,
                    kind: PortKind::Number,
                }],
                kind: Kind::Score(function),
            }),
            count => Self::of(config, count),
        }
    }

    fn numbers(count: usize) -> Self {
        let item = || Arc::new(Field::new_list_field(DataType::Float64, true));
        let (labels, data_type) = match count {
            1 => (
                Labels::Number {
                    mean: 0.0,
                    std: 1.0,
                },
                DataType::Float64,
            ),
            count => {
                let means = vec![0.0; count];
                (Labels::Numbers { means, std: 1.0 }, DataType::List(item()))
            }
        };
        Self::labels(labels, data_type, (0..count).collect())
    }

    fn classes(config: &Config, count: usize, is_set: bool) -> Result<Self> {
        if count > CLASSES_MAX {
            return Err(Error::Unsupported(format!(
                "the model has {count} classes; at most {CLASSES_MAX} are supported"
            )));
        }
        let (data_type, values) = class_values(config, count)?;
        Ok(Self::of_classes(values, data_type, is_set))
    }

    /// Classes of this type in the order of the outputs.
    pub(super) fn of_classes(values: Vec<ClassValue>, data_type: DataType, is_set: bool) -> Self {
        let mut outputs: Vec<usize> = (0..values.len()).collect();
        outputs.sort_by(|left, right| values[*left].cmp(&values[*right]));
        let values = outputs.iter().map(|at| values[*at].clone()).collect();
        let item = Field::new_list_field(data_type.clone(), true);
        match is_set {
            true => Self::labels(
                Labels::Set { values },
                DataType::List(Arc::new(item)),
                outputs,
            ),
            false => Self::labels(Labels::Classes { values }, data_type, outputs),
        }
    }

    fn labels(labels: Labels, data_type: DataType, outputs: Vec<usize>) -> Self {
        let target = Column {
            name: LABEL.into(),
            data_type: data_type.clone(),
        };
        Self {
            ports: output_ports(&target, &labels),
            kind: Kind::Labels {
                labels,
                data_type,
                outputs,
            },
        }
    }

    /// The outputs of the model.
    pub(super) fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// The numbers of a row in the columns.
    pub(super) fn width(&self) -> usize {
        match &self.kind {
            Kind::Labels { outputs, .. } => outputs.len(),
            Kind::Score(_) => 1,
        }
    }

    /// The columns from the row-major outputs of the network.
    pub(super) fn columns(
        &self,
        logits: &[f32],
        report: RowReport,
        wanted: &Wanted,
    ) -> Result<Outputs> {
        let valid = report.valid.as_ref();
        match &self.kind {
            Kind::Score(function) => {
                let scores = logits.iter().map(|logit| function.of(f64::from(*logit)));
                let scores: Vec<f64> = scores.collect();
                let column = Float64Array::new(scores.into(), valid.cloned());
                let column: ArrayRef = Arc::new(column);
                Ok(Outputs {
                    columns: vec![column; wanted.outputs.len()],
                    scores: vec![],
                    report,
                })
            }
            Kind::Labels {
                labels,
                data_type,
                outputs,
            } => {
                let rows = logits.chunks_exact(outputs.len().max(1));
                let of_head: Vec<f64> = match labels.form() {
                    // The head of two classes has the logit of the second.
                    LabelForm::Class(2) => rows
                        .map(|row| f64::from(row[outputs[1]]) - f64::from(row[outputs[0]]))
                        .collect(),
                    _ => rows
                        .flat_map(|row| outputs.iter().map(move |output| f64::from(row[*output])))
                        .collect(),
                };
                let predicted = Predicted::new(labels, data_type, &of_head, valid);
                let columns = wanted
                    .outputs
                    .iter()
                    .map(|port| predicted.column(&self.ports[*port].kind, wanted));
                Ok(Outputs {
                    columns: columns.collect::<Result<_>>()?,
                    scores: if wanted.scores {
                        predicted.scores
                    } else {
                        vec![]
                    },
                    report,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Float64Type;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("config.json", text.as_bytes()).unwrap()
    }

    fn names(meaning: &Meaning) -> Vec<&str> {
        let ports = meaning.ports().iter();
        ports.map(|port| port.name.as_str()).collect()
    }

    fn columns(meaning: &Meaning, logits: &[f32]) -> Vec<ArrayRef> {
        let wanted = Wanted {
            outputs: (0..meaning.ports().len()).collect(),
            ..Wanted::default()
        };
        let outputs = meaning.columns(logits, RowReport::default(), &wanted);
        let columns = outputs.unwrap().columns;
        for (column, port) in columns.iter().zip(meaning.ports()) {
            assert_eq!(column.data_type(), &port.data_type, "{}", port.name);
        }
        columns
    }

    #[test]
    fn classes_have_probabilities_in_their_order() {
        let two = config(r#"{"id2label": {"0": "positive", "1": "negative"}}"#);
        let meaning = Meaning::of(&two, 2).unwrap();
        assert_eq!(
            names(&meaning),
            ["predicted_label", "predicted_label_probs"]
        );
        let found = columns(&meaning, &[2.0, 0.5, -1.0, 1.0]);
        let labels = found[0].as_string::<i32>();
        assert_eq!((labels.value(0), labels.value(1)), ("positive", "negative"));
        let first = found[1].as_list::<i32>().value(0);
        let probability = first.as_struct().column(1).as_primitive::<Float64Type>();
        // softmax([2, 0.5])[0]
        assert!((probability.value(0) - 0.817_574_476_193_643_7).abs() < 1e-12);

        let three = config(r#"{"id2label": {"0": "c", "1": "a", "2": "b"}}"#);
        let found = columns(&Meaning::of(&three, 3).unwrap(), &[0.0, 1.0, 2.0]);
        assert_eq!(found[0].as_string::<i32>().value(0), "b");
    }

    #[test]
    fn labels_that_exclude_nothing_are_a_set() {
        let text =
            r#"{"problem_type": "multi_label_classification", "id2label": {"0": "b", "1": "a"}}"#;
        let meaning = Meaning::of(&config(text), 2).unwrap();
        let found = columns(&meaning, &[3.0, 1.0, -1.0, 0.5]);
        let of_row = |row: usize| {
            let labels = found[0].as_list::<i32>().value(row);
            let labels = labels.as_string::<i32>().iter().flatten();
            labels.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            (of_row(0), of_row(1)),
            (vec!["a".into(), "b".into()], vec!["a".to_owned()])
        );
    }

    #[test]
    fn numbers_are_the_outputs_themselves() {
        for text in ["{}", r#"{"problem_type": "regression"}"#] {
            let meaning = Meaning::of(&config(text), 1).unwrap();
            assert_eq!(names(&meaning), ["predicted_label"]);
            let found = columns(&meaning, &[2.5, -7.0]);
            assert_eq!(
                *found[0].as_primitive::<Float64Type>().values(),
                [2.5, -7.0]
            );
        }
        let meaning = Meaning::of(&config(r#"{"problem_type": "regression"}"#), 2).unwrap();
        let found = columns(&meaning, &[2.5, -7.0]);
        let list = found[0].as_list::<i32>().value(0);
        assert_eq!(*list.as_primitive::<Float64Type>().values(), [2.5, -7.0]);
    }

    #[test]
    fn a_pair_has_a_score_or_classes() {
        let meaning = Meaning::of_pair(&config("{}"), 1, ScoreFunction::Sigmoid).unwrap();
        assert_eq!(names(&meaning), ["score"]);
        let found = columns(&meaning, &[0.0, -2.0]);
        let scores = found[0].as_primitive::<Float64Type>();
        assert_eq!(scores.value(0), 0.5);
        // 1 / (1 + exp(2))
        assert!((scores.value(1) - 0.119_202_922_022_117_56).abs() < 1e-12);
        let meaning = Meaning::of_pair(&config("{}"), 3, ScoreFunction::Identity).unwrap();
        assert_eq!(
            names(&meaning),
            ["predicted_label", "predicted_label_probs"]
        );
    }

    #[test]
    fn other_problems_are_refused() {
        for (text, count, expected) in [
            (
                r#"{"problem_type": "ranking"}"#,
                2,
                "problem_type \"ranking\" is not supported; this build knows single_label",
            ),
            (
                r#"{"problem_type": "single_label_classification"}"#,
                1,
                "a model of one class",
            ),
            (
                r#"{"id2label": {"0": "a"}}"#,
                2,
                "id2label has 1 names, the model has 2 outputs",
            ),
        ] {
            let error = Meaning::of(&config(text), count).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
