//! Prediction metrics with scikit-learn's definitions.
//!
//! Each metric is an accumulator: rows are added one at a time, and the accumulators of two parts of the rows merge.
//! The result does not depend on the order of rows or parts. Training, `evaluate` and the aggregate functions of SQL
//! share the accumulators, so their results agree.
//!
//! * `confusion`: [`Confusion`] accuracy, precision, recall, f1
//! * `sets`: [`LabelSets`] accuracy, Hamming loss, macro and micro averages of sets of labels
//! * `log_loss`: [`LogLoss`]
//! * `ranking`: [`Ranking`] area under the ROC curve, average precision; `curves` the points of its curves
//! * `regression`: [`Regression`] mean absolute and squared error, R², explained variance
//! * `median`: [`Median`] the median of numbers, such as absolute errors
//! * `exact`: [`ExactSum`] the order-independent sum that log loss and regression use; `rounding` of doubles to few bits
//!
//! A metric over no rows is `None`.

mod confusion;
mod curves;
mod exact;
mod log_loss;
mod median;
mod ranking;
mod regression;
mod rounding;
mod sets;

pub use confusion::{ClassCounts, Confusion, Scores};
pub use exact::ExactSum;
pub use log_loss::LogLoss;
pub use median::Median;
pub use ranking::Ranking;
pub use regression::Regression;
pub use sets::LabelSets;
