//! [`Metric`]: a name and a value; and the metrics that `evaluate` returns.

use serde::{Deserialize, Serialize};

/// A metric's name and value; `None` where the metric is not defined, such as accuracy over no rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The name in SQL.
    pub name: String,
    /// The value.
    pub value: Option<f64>,
}

/// The columns of `evaluate` for a classifier, in order.
pub const CLASSIFIER_METRICS: &[&str] = &[
    "accuracy",
    "precision",
    "recall",
    "f1",
    "log_loss",
    "roc_auc",
];
/// The columns of `evaluate` for a regressor, in order.
pub const REGRESSOR_METRICS: &[&str] = &[
    "mae",
    "mse",
    "rmse",
    "r2",
    "median_absolute_error",
    "explained_variance",
];

/// Metrics of these names; a value that is not finite is not defined.
pub(super) fn named(names: &[&str], values: &[Option<f64>]) -> Vec<Metric> {
    let finite = |value: &Option<f64>| value.filter(|value| value.is_finite());
    names
        .iter()
        .zip(values)
        .map(|(name, value)| Metric {
            name: (*name).into(),
            value: finite(value),
        })
        .collect()
}
