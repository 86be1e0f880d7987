//! The metrics of a model, computed from predictions and labels. `vatic-metrics` defines each metric.
//!
//! * `assessments` what is accumulated for all targets of a model, in any number of parts; `assessment` for one
//! * `classified`, `regressed`, `vectors`, `tagged` what is accumulated for classes, for numbers, for lists of numbers and for sets
//!   of labels
//! * `limits` the bound on memory
//! * `metric` the names and values that `evaluate` returns

mod assessment;
mod assessments;
mod classified;
mod limits;
mod metric;
mod regressed;
mod tagged;
mod vectors;

pub use assessment::{Assessment, Predictions};
pub use assessments::Assessments;
pub use classified::Classified;
pub use limits::SCORES_MAX;
pub use metric::{CLASSIFIER_METRICS, Metric, REGRESSOR_METRICS, SET_METRICS};
pub use regressed::Regressed;
pub use tagged::Tagged;
pub use vectors::Vectors;
