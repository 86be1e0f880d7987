//! The metrics of a model, computed from predictions and labels. `vatic-metrics` defines each metric.
//!
//! * `assessment` what is accumulated, in any number of parts
//! * `classified`, `regressed` what is accumulated for a classifier and for a regressor
//! * `limits` the bound on memory
//! * `metric` the names and values that `evaluate` returns

mod assessment;
mod classified;
mod limits;
mod metric;
mod regressed;

pub use assessment::{Assessment, Predictions};
pub use classified::Classified;
pub use limits::SCORES_MAX;
pub use metric::{CLASSIFIER_METRICS, Metric, REGRESSOR_METRICS};
pub use regressed::Regressed;
