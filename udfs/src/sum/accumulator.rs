//! The sum of one group, or of a window that moves.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{Decimal128Type, UInt64Type};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::Accumulator;

use super::total::{STATE_TYPE, Sum, Total, sum_of};

/// A value and how often it is there, with the room that a table keeps free.
const VALUE_BYTES: usize = 64;

/// The sum of all values.
#[derive(Debug)]
pub(super) struct Plain {
    total: Total,
    sum: Sum,
}

impl Plain {
    pub(super) fn new(total: Total) -> Self {
        let sum = Sum::default();
        Self { total, sum }
    }
}

impl Accumulator for Plain {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let sum = sum_of(&Total::values(&values[0])?)?;
        self.sum.add(sum.total, sum.count)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let sum = sum_of(&Total::values(&values[0])?)?;
        self.sum.subtract(sum.total, sum.count)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let result = self.total.results(std::iter::once(self.sum))?;
        ScalarValue::try_from_array(&result, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Decimal128(Some(self.sum.total), 38, 0),
            ScalarValue::UInt64(Some(self.sum.count)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let totals = states[0].as_primitive::<Decimal128Type>().iter();
        let counts = states[1].as_primitive::<UInt64Type>().iter();
        for (total, count) in totals.zip(counts) {
            self.sum
                .add(total.unwrap_or_default(), count.unwrap_or_default())?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum of different values.
#[derive(Debug)]
pub(super) struct Distinct {
    total: Total,
    counts: HashMap<i128, u64>,
}

impl Distinct {
    pub(super) fn new(total: Total) -> Self {
        let counts = HashMap::new();
        Self { total, counts }
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in Total::values(&values[0])?.iter().flatten() {
            *self.counts.entry(value).or_default() += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in Total::values(&values[0])?.iter().flatten() {
            if let Some(count) = self.counts.get_mut(&value) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&value);
                }
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = Sum::default();
        for value in self.counts.keys() {
            sum.add(*value, 1)?;
        }
        let result = self.total.results(std::iter::once(sum))?;
        ScalarValue::try_from_array(&result, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.counts.keys();
        let values = values.map(|value| ScalarValue::Decimal128(Some(*value), 38, 0));
        let values: Vec<ScalarValue> = values.collect();
        let list = ScalarValue::new_list_nullable(&values, &STATE_TYPE);
        Ok(vec![ScalarValue::List(Arc::clone(&list))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            for value in values.as_primitive::<Decimal128Type>().iter().flatten() {
                *self.counts.entry(value).or_default() += 1;
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * VALUE_BYTES
    }
}
