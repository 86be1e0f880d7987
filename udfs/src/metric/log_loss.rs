//! `log_loss` of labels and probabilities.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, UInt64Type};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::{Accumulator, AggregateUDF};
use vatic_metrics::LogLoss;

use super::udaf::{Metric, is_binary_label, metric_function, positives, state_sum, sum_state};
use crate::doc::Doc;

pub(super) fn function() -> AggregateUDF {
    metric_function(&LOG_LOSS)
}

static LOG_LOSS: Metric = Metric {
    doc: Doc {
        name: "log_loss",
        syntax: "log_loss(label, probability)",
        gives: "aggregate: the mean of -ln of the probability of the label; the probability of true or 1, or the list of {label, prob} that predict gives",
        example: "SELECT log_loss(y, p) FROM (VALUES (true, 0.9), (false, 0.2)) AS t(y, p)",
    },
    coerce,
    takes: "a boolean label with the probability of true, or a label with a list of {label, prob}",
    state: || vec![DataType::Binary, DataType::UInt64],
    accumulator: || Box::new(Sum(LogLoss::default())),
};

fn coerce(types: &[DataType]) -> Option<Vec<DataType>> {
    match types {
        [label, probability] if probability.is_numeric() || probability.is_null() => {
            is_binary_label(label).then(|| vec![label.clone(), DataType::Float64])
        }
        [_, DataType::List(item)] => match item.data_type() {
            DataType::Struct(fields) if fields.len() == 2 && fields[1].data_type().is_numeric() => {
                // Labels are compared as text, whatever type they have.
                let entry = vec![
                    Field::new(fields[0].name(), DataType::Utf8, true),
                    Field::new(fields[1].name(), DataType::Float64, true),
                ];
                let item = Field::new_list_field(DataType::Struct(entry.into()), true);
                Some(vec![DataType::Utf8, DataType::List(Arc::new(item))])
            }
            _ => None,
        },
        _ => None,
    }
}

fn checked(probability: f64) -> Result<f64> {
    match (0.0..=1.0).contains(&probability) {
        true => Ok(probability),
        false => exec_err!("log_loss takes probabilities from 0 to 1, found {probability}"),
    }
}

#[derive(Debug)]
struct Sum(LogLoss);

impl Sum {
    /// Adds the probability that the list of each row gives to the label of the row.
    fn add_lists(&mut self, labels: &ArrayRef, lists: &ArrayRef) -> Result<()> {
        let labels = cast(labels, &DataType::Utf8)?;
        let labels = labels.as_string::<i32>();
        let lists = lists.as_list::<i32>();
        let entries = lists.values().as_struct();
        let classes = cast(entries.column(0), &DataType::Utf8)?;
        let classes = classes.as_string::<i32>();
        let probabilities = cast(entries.column(1), &DataType::Float64)?;
        let probabilities = probabilities.as_primitive::<Float64Type>();
        for row in (0..labels.len()).filter(|&row| labels.is_valid(row) && lists.is_valid(row)) {
            let label = labels.value(row);
            let offsets = &lists.value_offsets()[row..=row + 1];
            let mut entries = offsets[0] as usize..offsets[1] as usize;
            let entry =
                entries.find(|&entry| classes.is_valid(entry) && classes.value(entry) == label);
            match entry {
                Some(entry) if probabilities.is_null(entry) => {}
                Some(entry) => self.0.add(checked(probabilities.value(entry))?),
                None => {
                    return exec_err!(
                        "log_loss: the list of probabilities of a row lacks its label {label:?}"
                    );
                }
            }
        }
        Ok(())
    }
}

impl Accumulator for Sum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if matches!(values[1].data_type(), DataType::List(_)) {
            return self.add_lists(&values[0], &values[1]);
        }
        let labels = positives("log_loss", &values[0])?;
        let probabilities = values[1].as_primitive::<Float64Type>();
        for (label, probability) in labels.iter().zip(probabilities) {
            let (Some(label), Some(probability)) = (label, probability) else {
                continue;
            };
            let probability = checked(probability)?;
            self.0.add(if label {
                probability
            } else {
                1.0 - probability
            });
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.0.value()))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.sum.bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![sum_state(&self.0.sum), self.0.rows.into()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states[1].as_primitive::<UInt64Type>().values();
        for (row, &rows) in rows.iter().enumerate() {
            let sum = state_sum(&states[0], row)?;
            self.0.merge(&LogLoss { sum, rows });
        }
        Ok(())
    }
}
