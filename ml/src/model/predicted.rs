//! [`Predicted`]: what a model predicts of one target, from the outputs of its head to columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};

use crate::data::labels::{
    LabelForm, Labels, class_array, predicted_classes, probabilities_type, probability_lists,
};
use crate::data::signature::PortKind;
use crate::data::types::{canonical_type, item_type};
use crate::model::Wanted;
use crate::nn::softmax;
use crate::{Error, Result};

/// The predictions of one target for some rows.
pub(crate) struct Predicted<'a> {
    labels: &'a Labels,
    /// The type of the target in training.
    data_type: &'a DataType,
    /// The numbers in the units of the target, or the probabilities of all classes, row-major.
    pub(crate) scores: Vec<f64>,
    valid: Option<NullBuffer>,
}

impl<'a> Predicted<'a> {
    /// From the row-major outputs of the target's head; `valid` says which rows have an output.
    pub(crate) fn new(
        labels: &'a Labels,
        data_type: &'a DataType,
        outputs: &[f64],
        valid: Option<&NullBuffer>,
    ) -> Self {
        let scores = scores(labels, outputs);
        let valid = match labels.form() {
            LabelForm::Number | LabelForm::Vector(_) => valid.cloned(),
            LabelForm::Class(classes) | LabelForm::Set(classes) => {
                // With a NaN no class is the most probable; any class would be a guess.
                let is_known = |row: &[f64]| row.iter().all(|probability| !probability.is_nan());
                let known: NullBuffer = scores.chunks(classes).map(is_known).collect();
                let known = Some(&known).filter(|known| known.null_count() > 0);
                NullBuffer::union(valid, known)
            }
        };
        Self {
            labels,
            data_type,
            scores,
            valid,
        }
    }

    /// The column of a port of the target.
    pub(crate) fn column(&self, port: &PortKind, wanted: &Wanted) -> Result<ArrayRef> {
        let (classes, valid) = (self.labels.classes(), self.valid.as_ref());
        let top_k = wanted.top_k;
        match (self.labels.form(), port) {
            (LabelForm::Class(_), PortKind::Probabilities { .. }) => {
                probability_lists(classes, &self.scores, valid, top_k, self.data_type)
            }
            (LabelForm::Set(_), PortKind::Probabilities { .. }) => {
                let label = label_type(self.data_type);
                probability_lists(classes, &self.scores, valid, top_k, &label)
            }
            (LabelForm::Set(_), _) => self.sets(wanted.threshold),
            (LabelForm::Class(count), _) => {
                let predicted = predicted_classes(&self.scores, count, wanted.threshold);
                class_array(classes, &predicted, valid, self.data_type)
            }
            (LabelForm::Number, _) => Ok(Arc::new(self.numbers(valid))),
            (LabelForm::Vector(length), _) => {
                let offsets = offsets(length, self.scores.len() / length.max(1))?;
                let numbers = Arc::new(self.numbers(None));
                let lists = ListArray::try_new(number_item(), offsets, numbers, valid.cloned());
                Ok(Arc::new(lists?))
            }
        }
    }

    /// For each row the labels that are at least so probable, ascending.
    fn sets(&self, threshold: f64) -> Result<ArrayRef> {
        let classes = self.labels.classes();
        let (mut positions, mut lengths) = (vec![], vec![]);
        for row in self.scores.chunks_exact(classes.len().max(1)) {
            let before = positions.len();
            let likely = (0u32..).zip(row).filter(|(_, score)| **score >= threshold);
            positions.extend(likely.map(|(position, _)| position));
            lengths.push(positions.len() - before);
        }
        check_total(positions.len())?;
        let label = label_type(self.data_type);
        let labels = class_array(classes, &positions, None, &label)?;
        let item = Arc::new(Field::new_list_field(label, true));
        let offsets = OffsetBuffer::from_lengths(lengths);
        let lists = ListArray::try_new(item, offsets, labels, self.valid.clone());
        Ok(Arc::new(lists?))
    }

    fn numbers(&self, valid: Option<&NullBuffer>) -> Float64Array {
        Float64Array::new(self.scores.clone().into(), valid.cloned())
    }
}

/// The type of the predictions of a target of this type, and of their probabilities if there are any.
pub(crate) fn predicted_types(labels: &Labels, target: &DataType) -> (DataType, Option<DataType>) {
    match labels.form() {
        LabelForm::Number => (DataType::Float64, None),
        LabelForm::Vector(_) => (DataType::List(number_item()), None),
        LabelForm::Class(_) => (target.clone(), Some(probabilities_type(target))),
        LabelForm::Set(_) => {
            let label = label_type(target);
            let item = Arc::new(Field::new_list_field(label.clone(), true));
            (DataType::List(item), Some(probabilities_type(&label)))
        }
    }
}

/// The type of the labels of sets of this type.
fn label_type(target: &DataType) -> DataType {
    canonical_type(&item_type(target).unwrap_or_else(|| target.clone()))
}

/// The offsets of lists of one length.
fn offsets(length: usize, rows: usize) -> Result<OffsetBuffer<i32>> {
    check_total(rows.saturating_mul(length))?;
    let lengths = std::iter::repeat_n(length, rows);
    Ok(OffsetBuffer::from_lengths(lengths))
}

/// Refuses more elements than the lists of a column can have.
pub(crate) fn check_total(elements: usize) -> Result<()> {
    match i32::try_from(elements) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Invalid(format!(
            "the predictions of a batch have {elements} elements, more than one column can hold; use smaller batches"
        ))),
    }
}

fn number_item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float64, true))
}

/// The numbers in the units of the target, or the probabilities of all classes, from the outputs of its head, row-major.
pub(crate) fn scores(labels: &Labels, outputs: &[f64]) -> Vec<f64> {
    match labels {
        Labels::Number { mean, std } => outputs.iter().map(|output| output * std + mean).collect(),
        Labels::Count { mean } | Labels::Counts { mean, .. } => {
            outputs.iter().map(|output| mean * output.exp()).collect()
        }
        Labels::Numbers { means, std } => {
            let pairs = outputs.iter().zip(means.iter().cycle());
            pairs.map(|(output, mean)| output * std + mean).collect()
        }
        Labels::Classes { values } => probabilities(outputs, values.len()),
        Labels::Set { .. } => {
            let probabilities = outputs.iter().map(|logit| of_logit(*logit)[1]);
            probabilities.collect()
        }
    }
}

/// The labels of a training, row-major: numbers in the units of the target, positions of classes, or 1 or 0 for each label.
pub(crate) fn in_units(labels: &Labels, encoded: &[f64]) -> Vec<f64> {
    match labels {
        Labels::Number { .. } | Labels::Numbers { .. } => scores(labels, encoded),
        Labels::Count { .. }
        | Labels::Counts { .. }
        | Labels::Classes { .. }
        | Labels::Set { .. } => encoded.to_vec(),
    }
}

/// Logits to probabilities, row-major `[rows, classes]`; one logit per row if there are two classes.
fn probabilities(logits: &[f64], classes: usize) -> Vec<f64> {
    let mut values = Vec::with_capacity(logits.len() * 2);
    if classes == 2 {
        values.extend(logits.iter().flat_map(|logit| of_logit(*logit)));
        return values;
    }
    values.extend(logits);
    values.chunks_exact_mut(classes.max(1)).for_each(|row| {
        softmax(row);
    });
    values
}

/// The probabilities of no and of yes.
fn of_logit(logit: f64) -> [f64; 2] {
    // Both probabilities come from one exponential, which cannot overflow.
    let smaller = (-logit.abs()).exp();
    let (likely, unlikely) = (1.0 / (1.0 + smaller), smaller / (1.0 + smaller));
    match logit < 0.0 {
        true => [likely, unlikely],
        false => [unlikely, likely],
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;
    use crate::data::labels::ClassValue;

    #[test]
    fn a_set_has_the_labels_from_the_threshold_on() {
        let values = ["blue", "green", "red"].map(|name| ClassValue::Text(name.into()));
        let labels = Labels::Set {
            values: values.into(),
        };
        let item = Arc::new(Field::new_list_field(DataType::Utf8View, true));
        let target = DataType::LargeList(item);
        let logits = [4.0, -4.0, 0.0, -1.0, -1.0, -1.0, f64::NAN, 9.0, 9.0];
        let predicted = Predicted::new(&labels, &target, &logits, None);
        let (list, probabilities) = predicted_types(&labels, &target);
        let sets = |threshold: f64| {
            let sets = predicted.sets(threshold).unwrap();
            assert_eq!(sets.data_type(), &list);
            let sets = sets.as_list::<i32>().iter();
            let of_row = |row: ArrayRef| {
                let names = row.as_string::<i32>().iter().flatten();
                names.collect::<Vec<_>>().join(" ")
            };
            sets.map(|row| row.map(of_row)).collect::<Vec<_>>()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(sets(0.5), [some("blue red"), some(""), None]);
        assert_eq!(sets(0.6), [some("blue"), some(""), None]);
        assert_eq!(sets(0.1), [some("blue red"), some("blue green red"), None]);
        let port = PortKind::Probabilities {
            target: "tags".into(),
        };
        let wanted = Wanted {
            top_k: Some(1),
            ..Wanted::default()
        };
        let lists = predicted.column(&port, &wanted).unwrap();
        assert_eq!(lists.data_type(), &probabilities.unwrap());
        let first = lists.as_list::<i32>().value(0);
        let names = first
            .as_struct()
            .column(0)
            .as_string::<i32>()
            .value(0)
            .to_owned();
        assert_eq!((first.len(), names), (1, "blue".to_owned()));
    }
}
