//! Losses: their gradients against finite differences, their values against numpy (`fixtures/losses.py`), and trainings.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use vatic_ml::model::options::{DataSplit, LossName, Optimizer, Schedule, TrainOptions};
use vatic_ml::train::loss::Loss;

use crate::{batch_of, model, noise, predict, train};

const STEP: f64 = 1e-5;

/// Every loss by its name in the fixture.
const LOSSES: [(&str, Loss); 13] = [
    ("squared", Loss::Squared),
    ("absolute", Loss::Absolute),
    ("huber", Loss::Huber { delta: 0.7 }),
    ("quantile", Loss::Quantile { quantile: 0.9 }),
    ("poisson", Loss::Poisson { offset: 1.2 }),
    ("binary", Loss::Binary { smoothing: 0.0 }),
    ("binary smoothed", Loss::Binary { smoothing: 0.1 }),
    ("binary focal", Loss::BinaryFocal { gamma: 2.0 }),
    ("binary focal half", Loss::BinaryFocal { gamma: 0.5 }),
    ("classes", CLASSES),
    ("classes smoothed", CLASSES_SMOOTHED),
    ("classes focal", focal_of_classes(2.0)),
    ("classes focal half", focal_of_classes(0.5)),
];

const CLASSES: Loss = Loss::Classes {
    classes: 4,
    smoothing: 0.0,
};

const CLASSES_SMOOTHED: Loss = Loss::Classes {
    classes: 4,
    smoothing: 0.1,
};

const fn focal_of_classes(gamma: f64) -> Loss {
    Loss::ClassesFocal { classes: 4, gamma }
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    outputs: Vec<f64>,
    labels: Vec<f64>,
    losses: Vec<f64>,
}

#[test]
fn losses_agree_with_numpy() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("fixtures/losses.json")).unwrap();
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, LOSSES.map(|(name, _)| name));
    for (case, (name, loss)) in cases.iter().zip(LOSSES) {
        let rows = case.outputs.chunks(loss.outputs()).zip(&case.labels);
        for ((outputs, label), expected) in rows.zip(&case.losses) {
            let found = loss.evaluate(outputs, &[*label], &[1.0]).unwrap().loss;
            let error = (found - expected).abs();
            assert!(error < 1e-11, "{name}: {found}, expected {expected}");
        }
    }
}

#[test]
fn gradients_of_losses() {
    for (name, loss) in LOSSES {
        let labels = match loss {
            Loss::Squared | Loss::Absolute | Loss::Huber { .. } | Loss::Quantile { .. } => {
                [0.3, -1.0, 2.0]
            }
            Loss::Poisson { .. } => [0.0, 3.0, 0.5],
            Loss::Binary { .. } | Loss::BinaryFocal { .. } => [0.0, 1.0, 1.0],
            Loss::Classes { .. } | Loss::ClassesFocal { .. } => [0.0, 3.0, 1.0],
        };
        let weights = [1.0, 0.5, 2.0];
        let mut draw = noise(11);
        let outputs: Vec<f64> = (0..3 * loss.outputs()).map(|_| draw() * 3.0).collect();
        let sum = loss.evaluate(&outputs, &labels, &weights).unwrap();
        assert_eq!(sum.weight, 3.5);
        for index in 0..outputs.len() {
            let at = |offset: f64| {
                let mut moved = outputs.clone();
                moved[index] += offset;
                loss.evaluate(&moved, &labels, &weights).unwrap().loss
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            assert!((sum.gradient[index] - expected).abs() < 1e-7, "{name}");
        }
    }
}

#[test]
fn a_loss_with_a_corner_is_flat_in_it() {
    for loss in [Loss::Absolute, Loss::Quantile { quantile: 0.9 }] {
        let sum = loss.evaluate(&[2.0], &[2.0], &[1.0]).unwrap();
        assert_eq!((sum.loss, sum.gradient), (0.0, vec![0.0]), "{loss:?}");
    }
}

#[test]
fn confident_predictions_have_finite_losses() {
    for logit in [-1e4, -100.0, -40.0, 0.0, 40.0, 100.0, 1e4] {
        for gamma in [0.0, 0.5, 1.0, 2.0] {
            for label in [0.0, 1.0] {
                let binary = [Loss::Binary { smoothing: 0.1 }, Loss::BinaryFocal { gamma }];
                let of_two = binary.map(|loss| loss.evaluate(&[logit], &[label], &[1.0]).unwrap());
                let classes = [
                    Loss::Classes {
                        classes: 2,
                        smoothing: 0.1,
                    },
                    Loss::ClassesFocal { classes: 2, gamma },
                ];
                let of_classes = classes.map(|loss| {
                    let outputs = [0.0, logit];
                    loss.evaluate(&outputs, &[label], &[1.0]).unwrap()
                });
                for (two, classes) in of_two.iter().zip(&of_classes) {
                    assert!(two.loss.is_finite() && two.gradient[0].is_finite());
                    // One logit means the same as two of which the first is 0.
                    let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * (1.0 + a.abs());
                    assert!(close(two.loss, classes.loss), "{logit} {gamma} {label}");
                    assert!(close(two.gradient[0], classes.gradient[1]));
                }
            }
        }
    }
}

/// A number `x`, and labels that depend on it: thousands, counts, or classes.
fn rows(of: impl Fn(f64, f64) -> f64) -> (RecordBatch, Vec<u128>) {
    let mut draw = noise(2);
    let x: Vec<f64> = (0..300).map(|_| draw()).collect();
    let labels: Vec<f64> = x.iter().map(|&x| of(x, draw().abs())).collect();
    let is_whole = labels.iter().all(|label| label.fract() == 0.0);
    let labels: ArrayRef = match is_whole {
        true => Arc::new(Int64Array::from_iter_values(
            labels.iter().map(|&label| label as i64),
        )),
        false => Arc::new(Float64Array::from(labels)),
    };
    let batch = batch_of(vec![
        ("x", Arc::new(Float64Array::from(x))),
        ("label", labels),
    ]);
    let hashes = (0..300u128).map(|row| row.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060));
    (batch, hashes.collect())
}

fn thousands(x: f64, noise: f64) -> f64 {
    5_000.0 + 2_000.0 * x + 700.0 * noise
}

/// A whole number whose mean is exp(1 + x).
fn count(x: f64, noise: f64) -> f64 {
    ((1.0 + x).exp() + noise).floor()
}

fn options(model_type: &str, loss: LossName) -> TrainOptions {
    TrainOptions {
        model_type: model_type.into(),
        loss: Some(loss),
        hidden_units: vec![8],
        epochs: Some(20),
        learn_rate: 0.01,
        data_split: DataSplit::None,
        ..TrainOptions::default()
    }
}

/// The mean of `of(predicted, label)` over all rows.
fn mean_of(predicted: &[f64], batch: &RecordBatch, of: impl Fn(f64, f64) -> f64) -> f64 {
    let labels = vatic_ml::data::labels::numbers(batch.column(1)).unwrap();
    let pairs = predicted.iter().zip(labels.values().iter());
    pairs
        .map(|(&predicted, &label)| of(predicted, label))
        .sum::<f64>()
        / predicted.len() as f64
}

#[test]
fn the_reported_loss_is_in_the_units_of_the_label() {
    let huber = |predicted: f64, label: f64| {
        let distance = (predicted - label).abs();
        match distance <= 300.0 {
            true => 0.5 * distance * distance,
            false => 300.0 * (distance - 150.0),
        }
    };
    let pinball = |predicted: f64, label: f64| {
        let above = label - predicted;
        (0.9 * above).max(-0.1 * above)
    };
    let poisson = |predicted: f64, label: f64| {
        let logarithm = match label > 0.0 {
            true => label * (label / predicted).ln(),
            false => 0.0,
        };
        predicted - label + logarithm
    };
    type OfRow<'a> = &'a dyn Fn(f64, f64) -> f64;
    let cases: [(LossName, OfRow<'_>); 5] = [
        (LossName::Mse, &|predicted: f64, label: f64| {
            (predicted - label).powi(2)
        }),
        (LossName::Mae, &|predicted: f64, label: f64| {
            (predicted - label).abs()
        }),
        (LossName::Huber, &huber),
        (LossName::Quantile, &pinball),
        (LossName::Poisson, &poisson),
    ];
    for (name, of) in cases {
        let (batch, hashes) = match name {
            LossName::Poisson => rows(count),
            _ => rows(thousands),
        };
        let options = TrainOptions {
            huber_delta: (name == LossName::Huber).then_some(300.0),
            quantile: (name == LossName::Quantile).then_some(0.9),
            ..options("dnn_regressor", name)
        };
        let trained = train(&batch, &hashes, &options, 2).unwrap();
        let predicted = predict(&model(&trained), &batch.project(&[0]).unwrap()).scores;
        let expected = mean_of(&predicted, &batch, of);
        let error = (trained.train_loss - expected).abs();
        assert!(
            error < 1e-4 * expected,
            "{}: {}, expected {expected}",
            name.name(),
            trained.train_loss
        );
    }
}

#[test]
fn predictions_are_what_the_loss_is_least_for() {
    let predicted = |loss, quantile, of: fn(f64, f64) -> f64| {
        let (batch, hashes) = rows(of);
        let options = TrainOptions {
            quantile,
            epochs: Some(60),
            lr_schedule: Schedule::Cosine,
            early_stop: false,
            ..options("dnn_regressor", loss)
        };
        let trained = train(&batch, &hashes, &options, 2).unwrap();
        let predicted = predict(&model(&trained), &batch.project(&[0]).unwrap()).scores;
        (predicted, batch)
    };
    for quantile in [0.1, 0.9] {
        let (predicted, batch) = predicted(LossName::Quantile, Some(quantile), thousands);
        let below = mean_of(&predicted, &batch, |predicted, label| {
            f64::from(label < predicted)
        });
        assert!((below - quantile).abs() < 0.03, "{below} below {quantile}");
    }
    let (counts, batch) = predicted(LossName::Poisson, None, count);
    let mean_count = mean_of(&counts, &batch, |_, label| label);
    let mean = mean_of(&counts, &batch, |predicted, _| predicted);
    assert!(
        (mean / mean_count - 1.0).abs() < 0.05,
        "{mean}, {mean_count}"
    );
    assert!(counts.iter().all(|&count| count > 0.0));
}

#[test]
fn labels_below_zero_are_no_counts() {
    let (batch, hashes) = rows(|x, noise| match x < -0.9 {
        true => -29.0,
        false => count(x, noise),
    });
    let options = options("dnn_regressor", LossName::Poisson);
    for workers in [1, 3] {
        let error = train(&batch, &hashes, &options, workers).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("\"label\" is below 0 in "), "{message}");
        assert!(
            message.contains("down to -29; loss = 'poisson'"),
            "{message}"
        );
    }
    let (zeros, hashes) = rows(|_, _| 0.0);
    let trained = train(&zeros, &hashes, &options, 2).unwrap();
    assert!(trained.train_loss < 0.9, "{}", trained.train_loss);
}

#[test]
fn the_unit_of_counts_does_not_matter() {
    let (counts, hashes) = rows(count);
    let labels = vatic_ml::data::labels::numbers(counts.column(1)).unwrap();
    for optimizer in [Optimizer::Adamw, Optimizer::Sgd] {
        let options = TrainOptions {
            optimizer: Some(optimizer),
            l2_reg: Some(0.01),
            clip_norm: Some(1.0),
            ..options("dnn_regressor", LossName::Poisson)
        };
        let trained = |unit: f64| {
            let labels = labels.values().iter().map(|label| label * unit);
            let labels = Float64Array::from_iter_values(labels);
            let x = Arc::clone(counts.column(0));
            let batch = batch_of(vec![("x", x), ("label", Arc::new(labels))]);
            train(&batch, &hashes, &options, 2).unwrap()
        };
        let ones = trained(1.0);
        assert!(ones.train_loss < ones.history[0].train_loss);
        // The square of a slope of such counts would be infinite in f32, or lost beside the epsilon of adamw.
        for unit in [1e-20, 1e25] {
            let loss = trained(unit).train_loss / unit;
            let difference = (loss / ones.train_loss - 1.0).abs();
            assert!(difference < 1e-3, "{optimizer:?} {unit}: {difference}");
        }
    }
}

#[test]
fn a_loss_for_other_labels_is_refused() {
    let (batch, hashes) = rows(count);
    for (model_type, loss) in [
        ("dnn_regressor", LossName::Focal),
        ("dnn_classifier", LossName::Huber),
        ("dnn_classifier", LossName::Poisson),
    ] {
        let error = train(&batch, &hashes, &options(model_type, loss), 2).unwrap_err();
        let expected = format!("loss = '{}' does not fit the labels", loss.name());
        assert!(error.to_string().contains(&expected), "{error}");
    }
}

#[test]
fn every_loss_gives_one_result_for_any_number_of_workers() {
    let two: fn(f64, f64) -> f64 = |x, _| f64::from(x > 0.0);
    let four: fn(f64, f64) -> f64 = |x, _| (2.0 * x + 2.0).floor();
    for (_, loss) in LossName::ALL {
        let (model_type, labels) = match loss {
            LossName::CrossEntropy | LossName::Focal => ("dnn_classifier", vec![two, four]),
            LossName::Mse | LossName::Mae | LossName::Huber | LossName::Quantile => {
                ("dnn_regressor", vec![thousands as fn(f64, f64) -> f64])
            }
            LossName::Poisson => ("dnn_regressor", vec![count as fn(f64, f64) -> f64]),
        };
        for of in labels {
            let (batch, hashes) = rows(of);
            let options = options(model_type, *loss);
            let alone = train(&batch, &hashes, &options, 1).unwrap();
            let together = train(&batch, &hashes, &options, 3).unwrap();
            assert_eq!(alone.weights, together.weights, "{}", loss.name());
            let first = alone.history[0].train_loss;
            assert!(alone.train_loss < first, "{}", loss.name());
        }
    }
}
