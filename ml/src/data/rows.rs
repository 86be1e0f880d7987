//! [`Rows`]: encoded rows with their labels and weights, whole or in ranges.

use std::ops::Range;

use crate::Result;
use crate::data::inputs::Inputs;

/// Encoded rows.
#[derive(Debug, Default)]
pub struct Rows {
    /// The features.
    pub inputs: Inputs,
    /// Standardised numbers, counts, or positions of classes.
    pub labels: Vec<f64>,
    /// The weight of each row.
    pub weights: Vec<f64>,
}

impl Rows {
    /// The rows at these positions, in this order.
    pub(crate) fn select(&self, order: &[u32]) -> Result<Self> {
        let pick = |values: &[f64]| order.iter().map(|&row| values[row as usize]).collect();
        Ok(Self {
            inputs: self.inputs.select(order)?,
            labels: pick(&self.labels),
            weights: pick(&self.weights),
        })
    }

    /// The rows in this range.
    pub(crate) fn narrow(&self, range: Range<usize>) -> Result<Self> {
        Ok(Self {
            inputs: self.inputs.narrow(range.clone())?,
            labels: self.labels[range.clone()].to_vec(),
            weights: self.weights[range].to_vec(),
        })
    }

    /// All rows in order, in ranges of at most `rows_max` rows.
    pub(crate) fn ranges(&self, rows_max: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.labels.len();
        let starts = (0..rows).step_by(rows_max);
        starts.map(move |start| start..rows.min(start + rows_max))
    }
}
