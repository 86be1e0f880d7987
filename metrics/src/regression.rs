//! Regression metrics: mean absolute and squared error, R² and explained variance.

use crate::exact::ExactSum;

/// Exact sums over labels and predictions. They lose no precision where labels are large compared with their spread,
/// and do not depend on the order of rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Regression {
    /// The number of rows.
    pub rows: u64,
    /// The sum of |label - predicted|.
    pub absolute: ExactSum,
    /// The sum of label - predicted.
    pub error: ExactSum,
    /// The sum of (label - predicted)².
    pub squared: ExactSum,
    /// The sum of labels.
    pub label: ExactSum,
    /// The sum of label².
    pub label_squared: ExactSum,
}

impl Regression {
    /// Counts a row.
    pub fn add(&mut self, label: f64, predicted: f64) {
        let error = label - predicted;
        self.rows += 1;
        self.absolute.add(error.abs());
        self.error.add(error);
        self.squared.add_square(error);
        self.label.add(label);
        self.label_squared.add_square(label);
    }

    /// Adds the rows of another part.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        for (ours, theirs) in self.sums_mut().into_iter().zip(other.sums()) {
            ours.merge(theirs);
        }
    }

    /// The sums, in a fixed order.
    pub fn sums(&self) -> [&ExactSum; 5] {
        [
            &self.absolute,
            &self.error,
            &self.squared,
            &self.label,
            &self.label_squared,
        ]
    }

    /// The sums, mutable, in the same order.
    pub fn sums_mut(&mut self) -> [&mut ExactSum; 5] {
        [
            &mut self.absolute,
            &mut self.error,
            &mut self.squared,
            &mut self.label,
            &mut self.label_squared,
        ]
    }

    /// The mean absolute error.
    pub fn mae(&self) -> Option<f64> {
        self.mean(self.absolute.value())
    }

    /// The mean squared error.
    pub fn mse(&self) -> Option<f64> {
        self.mean(self.squared.value())
    }

    /// The root of the mean squared error.
    pub fn rmse(&self) -> Option<f64> {
        self.mse().map(f64::sqrt)
    }

    /// The share of the labels' variance that the predictions explain: 1 - Σ(label - predicted)² / Σ(label - mean)².
    /// `None` for fewer than two rows, or labels that do not vary.
    pub fn r2(&self) -> Option<f64> {
        self.explained(self.squared.value())
    }

    /// R² after the mean error is subtracted, so a constant error does not count.
    pub fn explained_variance(&self) -> Option<f64> {
        self.explained(self.around_mean(&self.error, &self.squared))
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.rows > 0).then(|| sum / self.rows as f64)
    }

    fn explained(&self, rest: f64) -> Option<f64> {
        let labels = self.around_mean(&self.label, &self.label_squared);
        (labels > 0.0).then(|| 1.0 - rest / labels)
    }

    /// The sum of squares around the mean, (n Σx² - (Σx)²) / n; the numerator is exact before it is rounded.
    fn around_mean(&self, sum: &ExactSum, squares: &ExactSum) -> f64 {
        let mut rows = ExactSum::default();
        rows.add(self.rows as f64);
        let difference = rows.times(squares).minus(&sum.times(sum));
        difference.value() / self.rows.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_are_large_beside_their_spread_lose_nothing() {
        let mut sums = Regression::default();
        for row in 0..1_000 {
            let label = 1e15 + f64::from(row % 4);
            sums.add(label, label + 0.5);
        }
        assert_eq!(sums.mse(), Some(0.25));
        assert_eq!(sums.r2(), Some(1.0 - 0.25 / 1.25));
        assert_eq!(sums.explained_variance(), Some(1.0));
    }

    #[test]
    fn labels_that_do_not_vary_explain_nothing() {
        let mut sums = Regression::default();
        (0..1_000).for_each(|_| sums.add(0.1, 0.2));
        assert_eq!((sums.r2(), sums.explained_variance()), (None, None));
    }
}
