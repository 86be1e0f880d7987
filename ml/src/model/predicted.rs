//! [`Predicted`]: what a model predicts of one target, from the outputs of its head to columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};

use crate::data::labels::{
    LabelForm, Labels, class_array, predicted_classes, probabilities_type, probability_lists,
};
use crate::data::signature::PortKind;
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
            LabelForm::Class(classes) => {
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
        match (self.labels.form(), port) {
            (LabelForm::Class(_), PortKind::Probabilities { .. }) => {
                let top_k = wanted.top_k;
                probability_lists(classes, &self.scores, valid, top_k, self.data_type)
            }
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
    }
}

/// The offsets of lists of one length.
fn offsets(length: usize, rows: usize) -> Result<OffsetBuffer<i32>> {
    let total = rows.saturating_mul(length);
    match i32::try_from(total) {
        Ok(_) => Ok(OffsetBuffer::from_lengths(std::iter::repeat_n(
            length, rows,
        ))),
        Err(_) => Err(Error::Invalid(format!(
            "the predictions of a batch have {total} numbers, more than one column can hold; use smaller batches"
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
    }
}

/// The labels of a training, row-major: numbers in the units of the target, or positions of classes.
pub(crate) fn in_units(labels: &Labels, encoded: &[f64]) -> Vec<f64> {
    match labels {
        Labels::Number { .. } | Labels::Numbers { .. } => scores(labels, encoded),
        Labels::Count { .. } | Labels::Counts { .. } | Labels::Classes { .. } => encoded.to_vec(),
    }
}

/// Logits to probabilities, row-major `[rows, classes]`; one logit per row if there are two classes.
fn probabilities(logits: &[f64], classes: usize) -> Vec<f64> {
    let mut values = Vec::with_capacity(logits.len() * 2);
    if classes == 2 {
        for &logit in logits {
            // Both probabilities come from one exponential, which cannot overflow.
            let smaller = (-logit.abs()).exp();
            let (likely, unlikely) = (1.0 / (1.0 + smaller), smaller / (1.0 + smaller));
            values.extend(match logit < 0.0 {
                true => [likely, unlikely],
                false => [unlikely, likely],
            });
        }
        return values;
    }
    values.extend(logits);
    values.chunks_exact_mut(classes.max(1)).for_each(|row| {
        softmax(row);
    });
    values
}
