//! `mae`, `mse`, `rmse`, `r2` of labels and predicted numbers.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, UInt64Type};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{Accumulator, AggregateUDF};
use vatic_metrics::{ExactSum, Regression};

use super::udaf::{Metric, metric_function, state_sum, sum_state};
use crate::doc::Doc;

pub(super) fn functions() -> Vec<AggregateUDF> {
    [&MAE, &MSE, &RMSE, &R2].map(metric_function).into()
}

static MAE: Metric = Metric {
    doc: Doc {
        name: "mae",
        syntax: "mae(label, predicted)",
        gives: "aggregate: the mean absolute error",
        example: "SELECT mae(y, p) FROM (VALUES (1.0, 1.5), (2.0, 1.0)) AS t(y, p)",
    },
    coerce,
    takes: TAKES,
    state,
    accumulator: || Sums::boxed(Regression::mae),
};

static MSE: Metric = Metric {
    doc: Doc {
        name: "mse",
        syntax: "mse(label, predicted)",
        gives: "aggregate: the mean squared error",
        example: "SELECT mse(y, p) FROM (VALUES (1.0, 1.5), (2.0, 1.0)) AS t(y, p)",
    },
    coerce,
    takes: TAKES,
    state,
    accumulator: || Sums::boxed(Regression::mse),
};

static RMSE: Metric = Metric {
    doc: Doc {
        name: "rmse",
        syntax: "rmse(label, predicted)",
        gives: "aggregate: the root of the mean squared error",
        example: "SELECT rmse(y, p) FROM (VALUES (1.0, 1.5), (2.0, 1.0)) AS t(y, p)",
    },
    coerce,
    takes: TAKES,
    state,
    accumulator: || Sums::boxed(Regression::rmse),
};

static R2: Metric = Metric {
    doc: Doc {
        name: "r2",
        syntax: "r2(label, predicted)",
        gives: "aggregate: the share of the labels' variance that the predictions explain; NULL if the labels do not vary",
        example: "SELECT r2(y, p) FROM (VALUES (1.0, 1.5), (2.0, 1.0)) AS t(y, p)",
    },
    coerce,
    takes: TAKES,
    state,
    accumulator: || Sums::boxed(Regression::r2),
};

const TAKES: &str = "a number and a predicted number";

fn coerce(types: &[DataType]) -> Option<Vec<DataType>> {
    let is_number = |data_type: &DataType| data_type.is_numeric() || data_type.is_null();
    (types.len() == 2 && types.iter().all(is_number)).then(|| vec![DataType::Float64; 2])
}

fn state() -> Vec<DataType> {
    let mut types = vec![DataType::UInt64];
    types.extend([(); 5].map(|()| DataType::Binary));
    types
}

#[derive(Debug)]
struct Sums {
    sums: Regression,
    evaluate: fn(&Regression) -> Option<f64>,
}

impl Sums {
    fn boxed(evaluate: fn(&Regression) -> Option<f64>) -> Box<dyn Accumulator> {
        Box::new(Self {
            sums: Regression::default(),
            evaluate,
        })
    }
}

impl Accumulator for Sums {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let labels = values[0].as_primitive::<Float64Type>();
        let predicted = values[1].as_primitive::<Float64Type>();
        for (label, predicted) in labels.iter().zip(predicted) {
            if let (Some(label), Some(predicted)) = (label, predicted) {
                self.sums.add(label, predicted);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64((self.evaluate)(&self.sums)))
    }

    fn size(&self) -> usize {
        let sums = self.sums.sums().map(ExactSum::bytes);
        size_of_val(self) + sums.iter().sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut state = vec![ScalarValue::from(self.sums.rows)];
        let sums = self.sums.sums().map(sum_state);
        state.extend(sums);
        Ok(state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states[0].as_primitive::<UInt64Type>();
        for row in 0..rows.len() {
            let mut other = Regression {
                rows: rows.value(row),
                ..Regression::default()
            };
            for (sum, state) in other.sums_mut().into_iter().zip(&states[1..]) {
                *sum = state_sum(state, row)?;
            }
            self.sums.merge(&other);
        }
        Ok(())
    }
}
