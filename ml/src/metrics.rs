//! How good predictions are, as scikit-learn defines it.

use serde::{Deserialize, Serialize};

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
        values[0] = Some(accuracy(rows));
        let (precision, recall, f1) = macro_scores(rows);
        (values[1], values[2], values[3]) = (Some(precision), Some(recall), Some(f1));
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

fn accuracy(rows: &Classified) -> f64 {
    let right = rows
        .labels
        .iter()
        .zip(&rows.predicted)
        .filter(|(label, predicted)| **label == Some(**predicted));
    right.count() as f64 / rows.labels.len() as f64
}

fn macro_scores(rows: &Classified) -> (f64, f64, f64) {
    let mut hits = vec![0u64; rows.classes];
    let mut labelled = vec![0u64; rows.classes];
    let mut predicted_as = vec![0u64; rows.classes];
    for (label, &predicted) in rows.labels.iter().zip(&rows.predicted) {
        predicted_as[predicted as usize] += 1;
        if let Some(label) = label {
            labelled[*label as usize] += 1;
            hits[predicted as usize] += u64::from(*label == predicted);
        }
    }
    let ratio = |part: u64, whole: u64| {
        if whole == 0 {
            0.0
        } else {
            part as f64 / whole as f64
        }
    };
    let (mut precision, mut recall, mut f1, mut occurring) = (0.0, 0.0, 0.0, 0.0);
    for class in 0..rows.classes {
        if labelled[class] + predicted_as[class] == 0 {
            continue;
        }
        occurring += 1.0;
        precision += ratio(hits[class], predicted_as[class]);
        recall += ratio(hits[class], labelled[class]);
        f1 += ratio(2 * hits[class], labelled[class] + predicted_as[class]);
    }
    (precision / occurring, recall / occurring, f1 / occurring)
}

fn log_loss(rows: &Classified) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0u64);
    for (row, label) in rows.labels.iter().enumerate() {
        if let Some(label) = label {
            let probability = rows.probabilities[row * rows.classes + *label as usize];
            sum -= probability.max(f64::EPSILON).ln();
            count += 1;
        }
    }
    (count > 0).then(|| sum / count as f64)
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
        let scores = rows.labels.iter().enumerate().filter_map(|(row, label)| {
            label.map(|label| {
                (
                    rows.probabilities[row * rows.classes + class],
                    label as usize == class,
                )
            })
        });
        areas.extend(area_under_roc(scores.collect()));
    }
    (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64)
}

/// The probability that a positive scores above a negative, ties counting half (Mann-Whitney U).
fn area_under_roc(mut scores: Vec<(f64, bool)>) -> Option<f64> {
    scores.sort_by(|left, right| left.0.total_cmp(&right.0));
    let positives = scores.iter().filter(|(_, positive)| *positive).count() as f64;
    let negatives = scores.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let (mut area, mut below) = (0.0, 0.0);
    for tied in scores.chunk_by(|left, right| left.0 == right.0) {
        let positive = tied.iter().filter(|(_, positive)| *positive).count() as f64;
        let negative = tied.len() as f64 - positive;
        area += positive * (below + negative / 2.0);
        below += negative;
    }
    Some(area / (positives * negatives))
}

/// The metrics of a regressor in the order of [`REGRESSOR_METRICS`].
pub fn regressor(labels: &[f64], predicted: &[f64]) -> Vec<Metric> {
    if labels.is_empty() {
        return named(REGRESSOR_METRICS, &[None; 6]);
    }
    let rows = labels.len() as f64;
    let mean = |values: &dyn Fn(usize) -> f64| (0..labels.len()).map(values).sum::<f64>() / rows;
    let error = |row: usize| labels[row] - predicted[row];
    let mse = mean(&|row| error(row).powi(2));
    let error_mean = mean(&error);
    let label_mean = mean(&|row| labels[row]);
    let variance = mean(&|row| (labels[row] - label_mean).powi(2));
    let error_variance = mean(&|row| (error(row) - error_mean).powi(2));
    let of_variance = |part: f64| (variance > 0.0).then(|| 1.0 - part / variance);
    let mut absolute: Vec<f64> = (0..labels.len()).map(|row| error(row).abs()).collect();
    absolute.sort_by(f64::total_cmp);
    let middle = absolute.len() / 2;
    let median = if absolute.len() % 2 == 1 {
        absolute[middle]
    } else {
        (absolute[middle - 1] + absolute[middle]) / 2.0
    };
    let mae = mean(&|row| error(row).abs());
    named(
        REGRESSOR_METRICS,
        &[
            Some(mae),
            Some(mse),
            Some(mse.sqrt()),
            of_variance(mse),
            Some(median),
            of_variance(error_variance),
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
