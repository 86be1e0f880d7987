//! [`Regressed`]: the predictions and labels of a regressor.

use vatic_metrics::{Median, Regression};

use super::limits::{SCORE_BITS, SCORES_MAX, UNROUNDED_MAX};
use super::metric::{Metric, REGRESSOR_METRICS, named};
use crate::Result;
use crate::bytes::{Reader, Writer};

/// The accumulated predictions and labels of a regressor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Regressed {
    pub(super) sums: Regression,
    errors: Median,
    is_rounded: bool,
}

impl Regressed {
    /// Counts rows.
    pub fn add(&mut self, labels: impl IntoIterator<Item = f64>, predicted: &[f64]) {
        for (label, &predicted) in labels.into_iter().zip(predicted) {
            self.sums.add(label, predicted);
            self.errors.add((label - predicted).abs());
        }
        self.bound();
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.sums.merge(&other.sums);
        self.errors.merge(other.errors);
        self.is_rounded |= other.is_rounded;
        self.bound();
    }

    fn bound(&mut self) {
        let limit = if self.is_rounded {
            UNROUNDED_MAX
        } else {
            SCORES_MAX
        };
        if self.errors.exact().len() > limit {
            self.is_rounded = true;
            self.errors.round(SCORE_BITS);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.errors.bytes()
    }

    fn median(&self) -> Option<f64> {
        let mut errors = self.errors.clone();
        if self.is_rounded {
            errors.round(SCORE_BITS);
        }
        errors.value()
    }

    pub(super) fn metrics(&self) -> Vec<Metric> {
        let sums = &self.sums;
        let values = match sums.rows {
            0 => [None; 6],
            _ => [
                sums.mae(),
                sums.mse(),
                sums.rmse(),
                sums.r2(),
                self.median(),
                sums.explained_variance(),
            ],
        };
        named(REGRESSOR_METRICS, &values)
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

    pub(super) fn read(bytes: &mut Reader<'_>) -> Result<Self> {
        let mut read = Self {
            is_rounded: bytes.count()? != 0,
            ..Self::default()
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
