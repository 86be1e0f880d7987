//! `roc_auc` and `pr_auc` of labels and scores.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array};
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{Accumulator, AggregateUDF};
use vatic_metrics::Ranking;

use super::classes::one_list;
use super::udaf::{Metric, is_binary_label, metric_function, positives};
use crate::doc::Doc;

pub(super) fn functions() -> Vec<AggregateUDF> {
    [&ROC_AUC, &PR_AUC].map(metric_function).into()
}

static ROC_AUC: Metric = Metric {
    doc: Doc {
        name: "roc_auc",
        syntax: "roc_auc(label, score)",
        gives: "aggregate: the chance that a row with label true or 1 scores above one with false or 0, ties counting half; NULL unless there are both",
        example: "SELECT roc_auc(y, s) FROM (VALUES (true, 0.9), (false, 0.2), (true, 0.1)) AS t(y, s)",
    },
    coerce,
    takes: TAKES,
    state,
    accumulator: || Scores::boxed(Ranking::roc_auc),
};

static PR_AUC: Metric = Metric {
    doc: Doc {
        name: "pr_auc",
        syntax: "pr_auc(label, score)",
        gives: "aggregate: average precision, the area under the steps of precision over recall; NULL without a row that is true or 1",
        example: "SELECT pr_auc(y, s) FROM (VALUES (true, 0.9), (false, 0.2), (true, 0.1)) AS t(y, s)",
    },
    coerce,
    takes: TAKES,
    state,
    accumulator: || Scores::boxed(Ranking::average_precision),
};

const TAKES: &str = "a label that is a boolean, 0 or 1, and a number";

fn coerce(types: &[DataType]) -> Option<Vec<DataType>> {
    match types {
        [label, score] if is_binary_label(label) && (score.is_numeric() || score.is_null()) => {
            Some(vec![label.clone(), DataType::Float64])
        }
        _ => None,
    }
}

fn state() -> Vec<DataType> {
    [DataType::Float64, DataType::Boolean]
        .map(|data_type| DataType::List(Arc::new(Field::new_list_field(data_type, true))))
        .into()
}

#[derive(Debug)]
struct Scores {
    ranking: Ranking,
    evaluate: fn(&Ranking) -> Option<f64>,
}

impl Scores {
    fn boxed(evaluate: fn(&Ranking) -> Option<f64>) -> Box<dyn Accumulator> {
        Box::new(Self {
            ranking: Ranking::default(),
            evaluate,
        })
    }

    fn add(&mut self, scores: &Float64Array, labels: &BooleanArray) {
        for (score, label) in scores.iter().zip(labels) {
            if let (Some(score), Some(label)) = (score, label) {
                self.ranking.add(score, label);
            }
        }
    }
}

impl Accumulator for Scores {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let labels = positives("roc_auc and pr_auc", &values[0])?;
        self.add(values[1].as_primitive::<Float64Type>(), &labels);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64((self.evaluate)(&self.ranking)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.ranking.bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (scores, labels) = self.ranking.rows();
        Ok(vec![
            one_list(Arc::new(Float64Array::from(scores.to_vec()))),
            one_list(Arc::new(BooleanArray::from(labels.to_vec()))),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (scores, labels) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for row in 0..scores.len() {
            let (scores, labels) = (scores.value(row), labels.value(row));
            self.add(scores.as_primitive::<Float64Type>(), labels.as_boolean());
        }
        Ok(())
    }
}
