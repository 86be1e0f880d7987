//! The accumulators for one group or a sliding window, with and without DISTINCT.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::UInt64Type;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::Accumulator;

use super::total::{Sum, Total, Wide, sum_of};

/// The sum of all values.
#[derive(Debug)]
pub(super) struct Plain<N> {
    total: Total,
    sum: Sum<N>,
}

impl<N: Wide> Plain<N> {
    pub(super) fn new(total: Total) -> Self {
        let sum = Sum::default();
        Self { total, sum }
    }
}

impl<N: Wide> Accumulator for Plain<N> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let sum = sum_of::<N>(&N::values(&values[0])?)?;
        self.sum.add(sum.total, sum.count)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let sum = sum_of::<N>(&N::values(&values[0])?)?;
        self.sum.subtract(sum.total, sum.count)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let result = N::results(&self.total, std::iter::once(self.sum))?;
        ScalarValue::try_from_array(&result, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            self.sum.total.scalar(),
            ScalarValue::UInt64(Some(self.sum.count)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let totals = states[0].as_primitive::<N::Arrow>().iter();
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

/// The sum of distinct values.
#[derive(Debug)]
pub(super) struct Distinct<N> {
    total: Total,
    counts: HashMap<N, u64>,
}

impl<N: Wide> Distinct<N> {
    pub(super) fn new(total: Total) -> Self {
        let counts = HashMap::new();
        Self { total, counts }
    }
}

impl<N: Wide> Accumulator for Distinct<N> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in N::values(&values[0])?.iter().flatten() {
            *self.counts.entry(value).or_default() += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in N::values(&values[0])?.iter().flatten() {
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
        let result = N::results(&self.total, std::iter::once(sum))?;
        ScalarValue::try_from_array(&result, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.counts.keys().map(|value| value.scalar());
        let values: Vec<ScalarValue> = values.collect();
        let list = ScalarValue::new_list_nullable(&values, &N::STATE_TYPE);
        Ok(vec![ScalarValue::List(Arc::clone(&list))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            for value in values.as_primitive::<N::Arrow>().iter().flatten() {
                *self.counts.entry(value).or_default() += 1;
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        // Twice the capacity, because a hash table keeps free buckets.
        size_of_val(self) + self.counts.capacity() * 2 * size_of::<(N, u64)>()
    }
}
