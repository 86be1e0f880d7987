//! [`Rows`]: encoded rows with their labels and weights, whole or in ranges.

use std::ops::Range;

use crate::Result;
use crate::data::inputs::Inputs;

/// Encoded rows.
#[derive(Debug, Default)]
pub struct Rows {
    /// The features.
    pub inputs: Inputs,
    /// Standardised numbers, counts, positions of classes, or 1 or 0 for each label of a set: row-major, those of all targets side by
    /// side.
    pub labels: Vec<f64>,
    /// The weight of each row for each target, row-major `[rows, targets]`.
    pub weights: Vec<f64>,
}

impl Rows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.inputs.rows()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows at these positions, in this order.
    pub(crate) fn select(&self, order: &[u32]) -> Result<Self> {
        let pick = |values: &[f64]| -> Vec<f64> {
            let rows = order.iter().map(|&row| row as usize);
            match values.len() / self.len().max(1) {
                1 => rows.map(|row| values[row]).collect(),
                width => rows
                    .flat_map(|row| values[row * width..][..width].iter().copied())
                    .collect(),
            }
        };
        Ok(Self {
            inputs: self.inputs.select(order)?,
            labels: pick(&self.labels),
            weights: pick(&self.weights),
        })
    }

    /// The rows in this range.
    pub(crate) fn narrow(&self, range: Range<usize>) -> Result<Self> {
        let (labels, weights) = self.labels_and_weights(&range);
        Ok(Self {
            labels: labels.to_vec(),
            weights: weights.to_vec(),
            inputs: self.inputs.narrow(range)?,
        })
    }

    /// The labels and the weights of the rows in this range.
    pub(crate) fn labels_and_weights(&self, range: &Range<usize>) -> (&[f64], &[f64]) {
        let of_range = |values| {
            let values: &[f64] = values;
            let width = values.len() / self.len().max(1);
            &values[range.start * width..range.end * width]
        };
        (of_range(&self.labels), of_range(&self.weights))
    }

    /// All rows in order, in ranges of at most `rows_max` rows.
    pub(crate) fn ranges(&self, rows_max: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.len();
        let starts = (0..rows).step_by(rows_max);
        starts.map(move |start| start..rows.min(start + rows_max))
    }
}

/// The weight of a row in a mean over rows, from its weight for each target.
pub(crate) fn weight_of_row(weights: &[f64]) -> f64 {
    weights.iter().sum::<f64>() / weights.len() as f64
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::*;
    use crate::device::HOST;

    #[test]
    fn labels_and_weights_stay_with_their_rows() {
        let x = Tensor::new(&[10f64, 20.0, 30.0], &HOST).unwrap();
        let rows = Rows {
            inputs: Inputs::new(3).with("x", x).unwrap(),
            labels: vec![1.0, 0.1, 2.0, 0.2, 3.0, 0.3],
            weights: vec![1.0, 2.0, 3.0],
        };
        let chosen = rows.select(&[2, 0]).unwrap();
        assert_eq!(chosen.labels, [3.0, 0.3, 1.0, 0.1]);
        assert_eq!((chosen.len(), chosen.weights), (2, vec![3.0, 1.0]));
        let last = rows.narrow(1..3).unwrap();
        assert_eq!((last.len(), last.labels), (2, vec![2.0, 0.2, 3.0, 0.3]));
        assert_eq!(rows.ranges(2).collect::<Vec<_>>(), [0..2, 2..3]);
        assert!(Rows::default().is_empty());
        assert_eq!(weight_of_row(&[1.0, 3.0]), 2.0);
    }
}
