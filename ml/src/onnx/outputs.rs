//! Tensors of a run → columns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, ListArray, StringArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use candle_core::Tensor;

use super::computed::{Column, Values};
use super::element::Element;
use super::encode::fits;
use super::ports::{Output, Role, Width, class_type};
use crate::data::inputs::RowReport;
use crate::data::labels::{class_array, predicted_classes, probability_lists};
use crate::model::{Outputs, Wanted};
use crate::{Error, Result};

/// The wanted outputs of a batch, from the tensors of [`super::run::run`].
///
/// # Errors
/// [`Error::Internal`] if these are other tensors.
pub(super) fn columns(
    outputs: &[Output],
    computed: &[Tensor],
    mut report: RowReport,
    wanted: &Wanted,
) -> Result<Outputs> {
    let mut tensors = computed.iter();
    let read = outputs
        .iter()
        .map(|output| Column::read(output, &mut tensors));
    let read = read.collect::<Result<Vec<Column>>>()?;
    if let Values::Texts(causes) = Values::read(Element::Text, &mut tensors)? {
        add_failures(&mut report, causes);
    }
    let batch = Batch {
        outputs,
        read: &read,
        valid: report.valid.as_ref(),
        wanted,
    };
    let columns = wanted.outputs.iter().map(|output| batch.column(*output));
    let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
    let scores = match wanted.scores {
        true => batch.scores(),
        false => vec![],
    };
    Ok(Outputs {
        columns,
        scores,
        report,
    })
}

/// Adds the rows that have a cause to the failures, but for those that have no output anyway.
fn add_failures(report: &mut RowReport, causes: Vec<String>) {
    let rows = causes.len();
    let is_valid = |row: usize| {
        report
            .valid
            .as_ref()
            .is_none_or(|valid| valid.is_valid(row))
    };
    let causes = causes.into_iter().enumerate();
    let failures: Vec<(usize, String)> = causes
        .filter(|(row, cause)| !cause.is_empty() && is_valid(*row))
        .collect();
    let fits = fits(rows, &failures);
    report.valid = NullBuffer::union(report.valid.as_ref(), fits.as_ref());
    report.failures.extend(failures);
    report.failures.sort();
}

/// The values of a batch.
struct Batch<'a> {
    outputs: &'a [Output],
    read: &'a [Column],
    valid: Option<&'a NullBuffer>,
    wanted: &'a Wanted,
}

impl Batch<'_> {
    fn column(&self, at: usize) -> Result<ArrayRef> {
        let (output, read) = (&self.outputs[at], &self.read[at]);
        let values = &read.values;
        match &output.role {
            Role::Value => self.array(values, output.element.data_type()),
            Role::Label(classes) => match (classes.len(), self.probabilities()) {
                // The model has its own rule for the label, unless the user asks for another.
                (2, Some(probabilities)) if self.wanted.threshold != 0.5 => {
                    let positions = predicted_classes(&probabilities, 2, self.wanted.threshold);
                    class_array(classes, &positions, self.valid, &class_type(classes))
                }
                _ => self.array(values, output.element.data_type()),
            },
            Role::List => self.lists(read, output),
            Role::Probabilities(classes, order) => {
                let probabilities = in_order(&as_doubles(values), order);
                let of = class_type(classes);
                probability_lists(classes, &probabilities, self.valid, self.wanted.top_k, &of)
            }
        }
    }

    /// The probabilities of all classes in their order, row-major, if an output has them.
    fn probabilities(&self) -> Option<Vec<f64>> {
        let mut outputs = self.outputs.iter().zip(self.read);
        outputs.find_map(|(output, read)| match &output.role {
            Role::Probabilities(_, order) => Some(in_order(&as_doubles(&read.values), order)),
            Role::Value | Role::Label(_) | Role::List => None,
        })
    }

    /// What metrics are computed from: the probabilities, or the number that is the label.
    fn scores(&self) -> Vec<f64> {
        let mut outputs = self.outputs.iter().zip(self.read);
        let number = outputs.find_map(|(output, read)| match &output.role {
            Role::Label(classes) if classes.is_empty() => Some(as_doubles(&read.values)),
            Role::Value | Role::Label(_) | Role::List | Role::Probabilities(..) => None,
        });
        number.or_else(|| self.probabilities()).unwrap_or_default()
    }

    /// The values as a column, NULL for a row without output.
    fn array(&self, values: &Values, data_type: DataType) -> Result<ArrayRef> {
        let valid = || self.valid.cloned();
        let array: ArrayRef = match values {
            Values::F32(values) => Arc::new(Float32Array::new(values.clone().into(), valid())),
            Values::F64(values) => Arc::new(Float64Array::new(values.clone().into(), valid())),
            Values::I64(values) => Arc::new(Int64Array::new(values.clone().into(), valid())),
            Values::Bool(values) => {
                let flags = values.iter().map(|flag| *flag != 0);
                Arc::new(BooleanArray::new(flags.collect(), valid()))
            }
            Values::Texts(texts) => {
                let is_valid = |row: usize| self.valid.is_none_or(|valid| valid.is_valid(row));
                let texts = texts.iter().enumerate();
                let texts = texts.map(|(row, text)| is_valid(row).then_some(text.as_str()));
                Arc::new(texts.collect::<StringArray>())
            }
        };
        match *array.data_type() == data_type {
            true => Ok(array),
            false => Ok(cast(&array, &data_type)?),
        }
    }

    fn lists(&self, read: &Column, output: &Output) -> Result<ArrayRef> {
        let elements = Batch {
            valid: None,
            ..*self
        };
        let of = output.element.data_type();
        let elements = elements.array(&read.values, of.clone())?;
        if i32::try_from(elements.len()).is_err() {
            let count = elements.len();
            return Err(Error::Invalid(format!(
                "an output of a batch has {count} elements, more than one column can hold; use smaller batches"
            )));
        }
        let offsets = match (&read.lengths, output.width) {
            (Some(lengths), _) => OffsetBuffer::from_lengths(lengths.iter().copied()),
            (None, Width::Of(width)) => {
                let rows = elements.len() / width;
                OffsetBuffer::from_lengths(std::iter::repeat_n(width, rows))
            }
            (None, Width::Any { .. }) => {
                return Err(Error::Internal("lists without their lengths".into()));
            }
        };
        let item = Arc::new(Field::new_list_field(of, true));
        let lists = ListArray::try_new(item, offsets, elements, self.valid.cloned())?;
        Ok(Arc::new(lists))
    }
}

/// The values as double-precision numbers.
fn as_doubles(values: &Values) -> Vec<f64> {
    match values {
        Values::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Values::F64(values) => values.clone(),
        Values::I64(values) => values.iter().map(|value| *value as f64).collect(),
        Values::Bool(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Values::Texts(texts) => vec![f64::NAN; texts.len()],
    }
}

/// The values of each row in this order.
fn in_order(values: &[f64], order: &[usize]) -> Vec<f64> {
    let rows = values.chunks_exact(order.len());
    rows.flat_map(|row| order.iter().map(|at| row[*at]))
        .collect()
}

#[cfg(test)]
#[path = "outputs_tests.rs"]
mod tests;
