//! [`Rows`]: encoded features with their labels and weights, whole or so many at a time.

use std::ops::Range;

use crate::data::encode::tabular::Features;

/// Encoded rows.
#[derive(Debug, Default)]
pub struct Rows {
    /// The features.
    pub features: Features,
    /// Standardised numbers, or positions of classes.
    pub labels: Vec<f64>,
    /// What each row counts.
    pub weights: Vec<f64>,
}

impl Rows {
    /// The rows at these positions, in this order.
    pub(crate) fn gather(&self, order: &[u32]) -> Self {
        let pick = |values: &[f64]| order.iter().map(|&row| values[row as usize]).collect();
        Self {
            features: self.features.gather(order),
            labels: pick(&self.labels),
            weights: pick(&self.weights),
        }
    }

    /// All rows in order, so many at a time: which ones, and their features.
    pub(crate) fn chunks(
        &self,
        rows_max: usize,
    ) -> impl Iterator<Item = (Range<usize>, Features)> + '_ {
        let rows = self.labels.len();
        (0..rows).step_by(rows_max).map(move |start| {
            let range = start..rows.min(start + rows_max);
            (range.clone(), self.features.slice(range))
        })
    }

    /// All rows in order, so many at a time.
    pub(crate) fn batches(&self, rows_max: usize) -> impl Iterator<Item = Rows> + '_ {
        self.chunks(rows_max).map(|(range, features)| Rows {
            features,
            labels: self.labels[range.clone()].to_vec(),
            weights: self.weights[range].to_vec(),
        })
    }
}
