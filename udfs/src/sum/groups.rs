//! The accumulator for many groups.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, UInt64Array};
use arrow::datatypes::UInt64Type;
use datafusion_common::Result;
use datafusion_expr::{EmitTo, GroupsAccumulator};

use super::total::{Sum, Total, Wide};

#[derive(Debug)]
pub(super) struct Groups<N> {
    total: Total,
    sums: Vec<Sum<N>>,
}

impl<N: Wide> Groups<N> {
    pub(super) fn new(total: Total) -> Self {
        let sums = Vec::new();
        Self { total, sums }
    }
}

impl<N: Wide> GroupsAccumulator for Groups<N> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        self.sums.resize(group_count, Sum::default());
        let values = N::values(&values[0])?;
        if values.null_count() == 0 && filter.is_none() {
            for (group, value) in groups.iter().zip(values.values()) {
                self.sums[*group].add(*value, 1)?;
            }
            return Ok(());
        }
        for (row, group) in groups.iter().enumerate() {
            if values.is_valid(row) && is_taken(filter, row) {
                self.sums[*group].add(values.value(row), 1)?;
            }
        }
        Ok(())
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        groups: &[usize],
        group_count: usize,
    ) -> Result<()> {
        self.sums.resize(group_count, Sum::default());
        let totals = states[0].as_primitive::<N::Arrow>().iter();
        let counts = states[1].as_primitive::<UInt64Type>().iter();
        for (group, (total, count)) in groups.iter().zip(totals.zip(counts)) {
            self.sums[*group].add(total.unwrap_or_default(), count.unwrap_or_default())?;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.sums);
        N::results(&self.total, sums.into_iter())
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = emit_to.take_needed(&mut self.sums);
        Ok(states(sums.into_iter()))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = N::values(&values[0])?;
        let rows =
            (0..values.len()).map(|row| match values.is_valid(row) && is_taken(filter, row) {
                true => Sum {
                    total: values.value(row),
                    count: 1,
                },
                false => Sum::default(),
            });
        Ok(states(rows))
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<Sum<N>>()
    }
}

fn is_taken(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

fn states<N: Wide>(sums: impl Iterator<Item = Sum<N>>) -> Vec<ArrayRef> {
    let (totals, counts): (Vec<N>, Vec<u64>) = sums.map(|sum| (sum.total, sum.count)).unzip();
    let totals = PrimitiveArray::<N::Arrow>::new(totals.into(), None);
    let totals = totals.with_data_type(N::STATE_TYPE);
    vec![Arc::new(totals), Arc::new(UInt64Array::from(counts))]
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Int64Type};

    use super::*;

    /// Reproducible pseudo-random numbers (SplitMix64).
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = *state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits ^ (bits >> 27)
    }

    fn groups() -> Groups<i128> {
        Groups::new(Total::of(&DataType::Int64, false).unwrap())
    }

    /// For any split of rows into batches, partial states and filters, the sums equal sums in 128 bits, or fail.
    #[test]
    fn sums_of_any_pieces_are_exact_or_an_error() {
        let (mut exact, mut failed) = (0, 0);
        for seed in 0..500 {
            let mut state = seed;
            let bits = 40 + random(&mut state) % 24;
            let (mut merged, mut expected) = (groups(), vec![None::<i128>; 3]);
            for _ in 0..1 + random(&mut state) % 4 {
                let rows = random(&mut state) % 20;
                let value = |state: &mut u64| {
                    (!random(state).is_multiple_of(5)).then(|| random(state) as i64 >> (63 - bits))
                };
                let values: Vec<_> = (0..rows).map(|_| value(&mut state)).collect();
                let of: Vec<usize> = (0..rows).map(|_| random(&mut state) as usize % 3).collect();
                let taken: Vec<bool> = (0..rows)
                    .map(|_| !random(&mut state).is_multiple_of(4))
                    .collect();
                for ((value, group), taken) in values.iter().zip(&of).zip(&taken) {
                    if let (Some(value), true) = (value, taken) {
                        *expected[*group].get_or_insert(0) += i128::from(*value);
                    }
                }
                let values: ArrayRef = Arc::new(Int64Array::from(values));
                let filter = BooleanArray::from(taken);
                match random(&mut state) % 3 {
                    0 => merged
                        .update_batch(&[values], &of, Some(&filter), 3)
                        .unwrap(),
                    1 => {
                        let states = groups().convert_to_state(&[values], Some(&filter)).unwrap();
                        merged.merge_batch(&states, &of, 3).unwrap();
                    }
                    _ => {
                        let mut part = groups();
                        part.update_batch(&[values], &of, Some(&filter), 3).unwrap();
                        let states = part.state(EmitTo::All).unwrap();
                        merged.merge_batch(&states, &[0, 1, 2], 3).unwrap();
                    }
                }
            }
            let fits = |sum: &Option<i128>| sum.is_none_or(|sum| i64::try_from(sum).is_ok());
            match merged.evaluate(EmitTo::All) {
                Ok(sums) => {
                    let sums = sums.as_primitive::<Int64Type>().iter();
                    let sums: Vec<_> = sums.map(|sum| sum.map(i128::from)).collect();
                    assert_eq!(sums, expected, "seed {seed}");
                    exact += 1;
                }
                Err(error) => {
                    assert!(!expected.iter().all(fits), "seed {seed}: {error}");
                    failed += 1;
                }
            }
        }
        assert!(exact > 50 && failed > 5, "{exact} exact, {failed} failed");
    }
}
