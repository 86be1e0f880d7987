//! [`Regressed`]: the predictions and labels of a regressor.

use vatic_metrics::{Median, Regression};

use super::limits::{SCORES_MAX, UNROUNDED_MAX, score_bits};
use super::metric::{Metric, REGRESSOR_METRICS, named};
use crate::Result;
use crate::bytes::{Reader, Writer};

/// The accumulated predictions and labels of a regressor.
#[derive(Debug, Clone, PartialEq)]
pub struct Regressed {
    pub(super) sums: Regression,
    errors: Median,
    is_rounded: bool,
    /// The numbers of a row, which share the limits.
    elements: usize,
}

impl Default for Regressed {
    fn default() -> Self {
        Self::of_elements(1)
    }
}

impl Regressed {
    /// An accumulator of one of so many numbers of a row.
    pub(super) fn of_elements(elements: usize) -> Self {
        Self {
            sums: Regression::default(),
            errors: Median::default(),
            is_rounded: false,
            elements,
        }
    }

    /// Counts a row, without bounding the memory.
    pub(super) fn add_one(&mut self, label: f64, predicted: f64) {
        self.sums.add(label, predicted);
        self.errors.add((label - predicted).abs());
    }

    /// Counts rows.
    pub fn add(&mut self, labels: impl IntoIterator<Item = f64>, predicted: &[f64]) {
        for (label, &predicted) in labels.into_iter().zip(predicted) {
            self.add_one(label, predicted);
        }
        self.bound();
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.sums.merge(&other.sums);
        self.errors.merge(other.errors);
        self.is_rounded |= other.is_rounded;
        self.bound();
    }

    /// Rounds errors if there are too many.
    pub(super) fn bound(&mut self) {
        let limit = if self.is_rounded {
            UNROUNDED_MAX
        } else {
            SCORES_MAX
        };
        if self.errors.exact().len() > limit / self.elements.max(1) {
            self.is_rounded = true;
            self.errors.round(score_bits(self.elements));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.errors.bytes()
    }

    fn median(&self) -> Option<f64> {
        let mut errors = self.errors.clone();
        if self.is_rounded {
            errors.round(score_bits(self.elements));
        }
        errors.value()
    }

    pub(super) fn metrics(&self) -> Vec<Metric> {
        named(REGRESSOR_METRICS, &self.values())
    }

    /// The values of [`REGRESSOR_METRICS`].
    pub(super) fn values(&self) -> [Option<f64>; 6] {
        let sums = &self.sums;
        match sums.rows {
            0 => [None; 6],
            _ => [
                sums.mae(),
                sums.mse(),
                sums.rmse(),
                sums.r2(),
                self.median(),
                sums.explained_variance(),
            ],
        }
    }

    pub(super) fn write(&self, bytes: &mut Writer) {
        bytes.count(u64::from(self.is_rounded));
        bytes.count(self.sums.rows);
        let sums = self.sums.sums();
        sums.iter().for_each(|sum| bytes.block(&sum.to_bytes()));
        bytes.count(self.errors.exact().len() as u64);
        let exact = self.errors.exact().iter();
        exact.for_each(|error| bytes.number(*error));
        bytes.count(self.errors.counts().len() as u64);
        for (error, count) in self.errors.counts() {
            bytes.number(error);
            bytes.count(count);
        }
    }

    /// Reads what [`Regressed::write`] wrote of one of so many numbers of a row.
    pub(super) fn read(bytes: &mut Reader<'_>, elements: usize) -> Result<Self> {
        let mut read = Self {
            is_rounded: bytes.count()? != 0,
            ..Self::of_elements(elements)
        };
        read.sums.rows = bytes.count()?;
        for sum in read.sums.sums_mut() {
            *sum = bytes.sum()?;
        }
        for _ in 0..bytes.count()? {
            read.errors.add(bytes.number()?);
        }
        for _ in 0..bytes.count()? {
            let error = bytes.number()?;
            read.errors.add_rounded(error, bytes.count()?);
        }
        Ok(read)
    }
}
