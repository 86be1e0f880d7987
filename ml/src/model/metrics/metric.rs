//! [`Metric`]: a name and a value; and the metrics that `evaluate` returns.

use serde::{Deserialize, Serialize};

/// A metric's name and value; `None` where the metric is not defined, such as accuracy over no rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The target that the metric is about, if the model has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The name in SQL.
    pub name: String,
    /// The value.
    pub value: Option<f64>,
}

impl Metric {
    /// The name, with the target if there is one: `price.r2`.
    pub fn full_name(&self) -> String {
        match &self.target {
            Some(target) => format!("{target}.{}", self.name),
            None => self.name.clone(),
        }
    }
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
/// The columns of `evaluate` for sets of labels, in order.
pub const SET_METRICS: &[&str] = &[
    "accuracy",
    "precision",
    "recall",
    "f1",
    "f1_micro",
    "hamming_loss",
    "log_loss",
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

/// Metrics of these names; a value that is no number is not defined. One infinite prediction makes a mean infinite.
pub(super) fn named(names: &[&str], values: &[Option<f64>]) -> Vec<Metric> {
    let number = |value: &Option<f64>| value.filter(|value| !value.is_nan());
    names
        .iter()
        .zip(values)
        .map(|(name, value)| Metric {
            target: None,
            name: (*name).into(),
            value: number(value),
        })
        .collect()
}
