//! Log loss: the mean negative logarithm of the predicted probability of the true class.

use crate::exact::ExactSum;

/// Cross-entropy of labels and probabilities.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogLoss {
    /// The sum over rows.
    pub sum: ExactSum,
    /// The number of rows.
    pub rows: u64,
}

impl LogLoss {
    /// Counts a row by the predicted probability of its true class. Probabilities are clamped away from 0 and 1 by the
    /// precision of a double, as in scikit-learn: certainty of a wrong class costs 36, not infinity.
    pub fn add(&mut self, probability: f64) {
        let probability = probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        self.sum.add(-probability.ln());
        self.rows += 1;
    }

    /// Adds the rows of another part.
    pub fn merge(&mut self, other: &Self) {
        self.sum.merge(&other.sum);
        self.rows += other.rows;
    }

    /// The mean over rows.
    pub fn value(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.sum.value() / self.rows as f64)
    }
}
