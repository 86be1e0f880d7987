//! The mean negative logarithm of what was thought of the truth.

/// Cross-entropy of labels and probabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LogLoss {
    /// The sum over rows.
    pub sum: f64,
    /// The number of rows.
    pub rows: u64,
}

impl LogLoss {
    /// Counts a row, of whose true class the model thought this probability. Certainty of a wrong class costs 36 and not
    /// infinity: probabilities are kept off 0 and 1 by the precision of a double, as scikit-learn does.
    pub fn add(&mut self, probability: f64) {
        self.sum -= probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln();
        self.rows += 1;
    }

    /// Adds the rows of another part.
    pub fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.rows += other.rows;
    }

    /// The mean over rows.
    pub fn value(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.sum / self.rows as f64)
    }
}
