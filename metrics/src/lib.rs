//! How good predictions are, as scikit-learn defines it.
//!
//! Each metric is an accumulator: rows are added one at a time, and two accumulators of two parts of the rows merge
//! into that of all, which does not depend on the order of rows or parts. Training, `evaluate` and the aggregate
//! functions of SQL share them, so they agree.
//!
//! * [`Confusion`] accuracy, precision, recall, f1
//! * [`LogLoss`] log loss
//! * [`Ranking`] area under the ROC curve, average precision
//! * [`Regression`] mean absolute and squared error, R², explained variance
//! * [`Median`] the middle of numbers, such as absolute errors
//! * [`ExactSum`] the sum below them, in which no order shows
//!
//! A metric of no rows is `None`.

mod confusion;
mod exact;
mod log_loss;
mod median;
mod ranking;
mod regression;
mod rounding;

pub use confusion::{ClassCounts, Confusion, Scores};
pub use exact::ExactSum;
pub use log_loss::LogLoss;
pub use median::Median;
pub use ranking::Ranking;
pub use regression::Regression;
