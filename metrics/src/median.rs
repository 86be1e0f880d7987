//! The median of numbers, exact or rounded.

use std::collections::BTreeMap;

use crate::rounding::{key, number, rounded};

/// An accumulator of the median. It keeps 8 bytes per number; where that is too much, [`Median::round`] replaces the
/// numbers by counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Median {
    numbers: Vec<f64>,
    /// The count of each rounded number, by the number's [`key`].
    counts: BTreeMap<u64, u64>,
}

impl Median {
    /// Adds a number.
    pub fn add(&mut self, number: f64) {
        self.numbers.push(number);
    }

    /// Adds the numbers of another part.
    pub fn merge(&mut self, other: Self) {
        self.numbers.extend(other.numbers);
        for (key, count) in other.counts {
            *self.counts.entry(key).or_default() += count;
        }
    }

    /// Truncates the mantissas to `bits` bits and keeps only counts: the median is off by at most the truncation.
    pub fn round(&mut self, bits: u32) {
        for number in std::mem::take(&mut self.numbers) {
            *self.counts.entry(key(rounded(number, bits))).or_default() += 1;
        }
    }

    /// The numbers that are not rounded.
    pub fn exact(&self) -> &[f64] {
        &self.numbers
    }

    /// The rounded numbers with their counts.
    pub fn counts(&self) -> impl ExactSizeIterator<Item = (f64, u64)> {
        self.counts
            .iter()
            .map(|(&key, &count)| (number(key), count))
    }

    /// Adds `count` occurrences of a rounded number.
    pub fn add_rounded(&mut self, number: f64, count: u64) {
        *self.counts.entry(key(number)).or_default() += count;
    }

    /// Memory of the numbers in bytes.
    pub fn bytes(&self) -> usize {
        let counts = self.counts.len() * size_of::<(u64, u64)>();
        self.numbers.capacity() * size_of::<f64>() + counts
    }

    /// The middle number, or the mean of the two in the middle; `None` without numbers.
    pub fn value(&self) -> Option<f64> {
        let exact = self.numbers.iter().map(|&number| (number, 1));
        let mut all: Vec<(f64, u64)> = exact.chain(self.counts()).collect();
        all.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
        let total: u64 = all.iter().map(|(_, count)| count).sum();
        let at = |place: u64| {
            let mut before = 0;
            let found = all.iter().find(|(_, count)| {
                before += count;
                place < before
            });
            found.map(|(number, _)| *number)
        };
        let upper = at(total / 2)?;
        match total % 2 {
            1 => Some(upper),
            _ => Some((at(total / 2 - 1)? + upper) / 2.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn median(numbers: &[f64]) -> Median {
        let mut median = Median::default();
        numbers.iter().for_each(|number| median.add(*number));
        median
    }

    #[test]
    fn the_middle_is_exact_or_as_good_as_its_bits() {
        assert_eq!(median(&[]).value(), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]).value(), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).value(), Some(2.5));
        let mut many = median(&(0..10_001).map(|n| f64::from(n) * 0.1).collect::<Vec<_>>());
        many.round(14);
        assert!(many.exact().is_empty());
        let found = many.value().unwrap();
        assert!((found - 500.0).abs() < 500.0 / 16_384.0 + 0.1, "{found}");
    }
}
