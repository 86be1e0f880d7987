//! The metrics of a model: which ones, and from what a model said of rows. What each is, `vatic-metrics` says.

use serde::{Deserialize, Serialize};
use vatic_metrics::{Confusion, LogLoss, Ranking, Regression};

/// A metric's name and value; `None` where it is not defined, as accuracy of no rows.
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

/// What a classifier said of rows whose label is known.
#[derive(Debug, Clone, Default)]
pub struct Classified {
    /// Number of classes.
    pub classes: usize,
    /// The class of each row; `None` if the model does not know the label.
    pub labels: Vec<Option<u32>>,
    /// The predicted class of each row.
    pub predicted: Vec<u32>,
    /// Row-major `[rows, classes]`.
    pub probabilities: Vec<f64>,
}

/// The metrics of a classifier in the order of [`CLASSIFIER_METRICS`]. Precision, recall and f1 are means over the
/// classes that occur. An unseen label counts as wrong, and is left out of log loss and ROC AUC.
pub fn classifier(rows: &Classified) -> Vec<Metric> {
    let mut values = [None; 6];
    if !rows.labels.is_empty() {
        let confusion = confusion(rows);
        values[0] = confusion.accuracy();
        if let Some(scores) = confusion.macro_scores() {
            values[1..4].copy_from_slice(&[scores.precision, scores.recall, scores.f1].map(Some));
        }
        values[4] = log_loss(rows);
        values[5] = roc_auc(rows);
    }
    named(CLASSIFIER_METRICS, &values)
}

fn named(names: &[&str], values: &[Option<f64>]) -> Vec<Metric> {
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

fn confusion(rows: &Classified) -> Confusion<u32> {
    let mut confusion = Confusion::default();
    for (label, &predicted) in rows.labels.iter().zip(&rows.predicted) {
        confusion.add(*label, predicted);
    }
    confusion
}

fn log_loss(rows: &Classified) -> Option<f64> {
    let mut loss = LogLoss::default();
    for (row, label) in rows.labels.iter().enumerate() {
        if let Some(label) = label {
            loss.add(rows.probabilities[row * rows.classes + *label as usize]);
        }
    }
    loss.value()
}

/// Of two classes that of the larger one, of more the mean of one class against the rest.
fn roc_auc(rows: &Classified) -> Option<f64> {
    let classes = if rows.classes == 2 {
        1..2
    } else {
        0..rows.classes
    };
    let mut areas = Vec::new();
    for class in classes {
        let mut ranking = Ranking::default();
        for (row, label) in rows.labels.iter().enumerate() {
            if let Some(label) = label {
                let score = rows.probabilities[row * rows.classes + class];
                ranking.add(score, *label as usize == class);
            }
        }
        areas.extend(ranking.roc_auc());
    }
    (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64)
}

/// The metrics of a regressor in the order of [`REGRESSOR_METRICS`].
pub fn regressor(labels: &[f64], predicted: &[f64]) -> Vec<Metric> {
    if labels.is_empty() {
        return named(REGRESSOR_METRICS, &[None; 6]);
    }
    let mut sums = Regression::default();
    for (&label, &predicted) in labels.iter().zip(predicted) {
        sums.add(label, predicted);
    }
    let mut absolute: Vec<f64> = labels
        .iter()
        .zip(predicted)
        .map(|(label, predicted)| (label - predicted).abs())
        .collect();
    absolute.sort_by(f64::total_cmp);
    let middle = absolute.len() / 2;
    let median = if absolute.len() % 2 == 1 {
        absolute[middle]
    } else {
        (absolute[middle - 1] + absolute[middle]) / 2.0
    };
    named(
        REGRESSOR_METRICS,
        &[
            sums.mae(),
            sums.mse(),
            sums.rmse(),
            sums.r2(),
            Some(median),
            sums.explained_variance(),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(metrics: &[Metric], name: &str) -> f64 {
        metrics
            .iter()
            .find(|metric| metric.name == name)
            .and_then(|metric| metric.value)
            .unwrap()
    }

    /// Expected values: scikit-learn 1.7, `zero_division=0`.
    #[test]
    fn classifier_metrics_agree_with_scikit_learn() {
        let rows = Classified {
            classes: 2,
            labels: [0, 0, 1, 1, 1].map(Some).to_vec(),
            predicted: vec![0, 1, 1, 1, 0],
            probabilities: [0.1, 0.6, 0.8, 0.6, 0.4]
                .iter()
                .flat_map(|p| [1.0 - p, *p])
                .collect(),
        };
        let metrics = classifier(&rows);
        assert!((value(&metrics, "accuracy") - 0.6).abs() < 1e-12);
        assert!((value(&metrics, "precision") - 7.0 / 12.0).abs() < 1e-12);
        assert!((value(&metrics, "recall") - 7.0 / 12.0).abs() < 1e-12);
        assert!((value(&metrics, "f1") - 7.0 / 12.0).abs() < 1e-12);
        // Of six pairs one is tied (0.6, 0.6) and one is wrong (0.4 below 0.6).
        assert!((value(&metrics, "roc_auc") - 4.5 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn regressor_metrics_agree_with_their_definitions() {
        let metrics = regressor(&[3.0, -0.5, 2.0, 7.0], &[2.5, 0.0, 2.0, 8.0]);
        assert!((value(&metrics, "mae") - 0.5).abs() < 1e-12);
        assert!((value(&metrics, "mse") - 0.375).abs() < 1e-12);
        assert!((value(&metrics, "r2") - 0.948_608_137_044_967_9).abs() < 1e-12);
        assert!((value(&metrics, "median_absolute_error") - 0.5).abs() < 1e-12);
        assert!((value(&metrics, "explained_variance") - 0.957_173_447_537_473_2).abs() < 1e-12);
    }

    #[test]
    fn no_rows_have_no_metrics() {
        assert!(
            regressor(&[], &[])
                .iter()
                .all(|metric| metric.value.is_none())
        );
        assert!(
            classifier(&Classified {
                classes: 3,
                ..Default::default()
            })
            .iter()
            .all(|m| m.value.is_none())
        );
    }
}
