//! How far predicted numbers are from the true ones.

/// Sums over rows of label and prediction. Variances are sums of squares around a running mean (Chan, Golub and LeVeque,
/// 1983), which loses nothing where labels are large beside their spread.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Regression {
    /// The number of rows.
    pub rows: u64,
    /// The sum of |label - predicted|.
    pub absolute: f64,
    /// The sum of (label - predicted)².
    pub squared: f64,
    /// The mean label.
    pub label_mean: f64,
    /// The sum of squares of labels around their mean.
    pub label_squares: f64,
    /// The mean of label - predicted.
    pub error_mean: f64,
    /// The sum of squares of label - predicted around its mean.
    pub error_squares: f64,
}

impl Regression {
    /// Counts a row.
    pub fn add(&mut self, label: f64, predicted: f64) {
        let error = label - predicted;
        self.merge(Self {
            rows: 1,
            absolute: error.abs(),
            squared: error * error,
            label_mean: label,
            label_squares: 0.0,
            error_mean: error,
            error_squares: 0.0,
        });
    }

    /// Adds the rows of another part.
    pub fn merge(&mut self, other: Self) {
        if other.rows == 0 {
            return;
        }
        if self.rows == 0 {
            *self = other;
            return;
        }
        let (ours, theirs) = (self.rows as f64, other.rows as f64);
        let share = theirs / (ours + theirs);
        let labels = other.label_mean - self.label_mean;
        let errors = other.error_mean - self.error_mean;
        self.label_squares += other.label_squares + labels * labels * ours * share;
        self.error_squares += other.error_squares + errors * errors * ours * share;
        self.label_mean += labels * share;
        self.error_mean += errors * share;
        self.absolute += other.absolute;
        self.squared += other.squared;
        self.rows += other.rows;
    }

    /// The mean absolute error.
    pub fn mae(&self) -> Option<f64> {
        self.mean(self.absolute)
    }

    /// The mean squared error.
    pub fn mse(&self) -> Option<f64> {
        self.mean(self.squared)
    }

    /// The root of the mean squared error.
    pub fn rmse(&self) -> Option<f64> {
        self.mse().map(f64::sqrt)
    }

    /// The share of the labels' variance that the predictions explain: 1 - Σ(label - predicted)² / Σ(label - mean)².
    /// `None` for fewer than two rows, or labels that do not vary.
    pub fn r2(&self) -> Option<f64> {
        self.explained(self.squared)
    }

    /// As R², but a constant error does no harm.
    pub fn explained_variance(&self) -> Option<f64> {
        self.explained(self.error_squares)
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.rows > 0).then(|| sum / self.rows as f64)
    }

    fn explained(&self, rest: f64) -> Option<f64> {
        (self.label_squares > 0.0).then(|| 1.0 - rest / self.label_squares)
    }
}
