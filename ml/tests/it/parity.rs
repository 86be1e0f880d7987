//! Results of trainings compared with closed forms and with scikit-learn.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use vatic_ml::model::options::{DataSplit, Optimizer, TrainOptions};

use crate::{batch_of, noise, train};

fn options(model_type: &str) -> TrainOptions {
    TrainOptions {
        model_type: model_type.into(),
        data_split: DataSplit::None,
        ..Default::default()
    }
}

fn hashes(rows: usize) -> Vec<u128> {
    (0..rows as u128)
        .map(|row| row.wrapping_mul(0xdead_beef_1234_5678_9abc_def0_0bad_cafe))
        .collect()
}

/// Features of very different scale, one of them constant.
fn linear_rows() -> RecordBatch {
    let mut draw = noise(7);
    let columns: Vec<Vec<f64>> = [1.0, 1e6, 1e-3]
        .iter()
        .map(|scale| (0..400).map(|_| draw() * scale + 5.0 * scale).collect())
        .collect();
    let label: Vec<f64> = (0..400)
        .map(|row| 3.0 * columns[0][row] - 2e-6 * columns[1][row] + 1e3 * columns[2][row] + 7.0)
        .collect();
    batch_of(vec![
        ("a", Arc::new(Float64Array::from(columns[0].clone()))),
        ("b", Arc::new(Float64Array::from(columns[1].clone()))),
        ("c", Arc::new(Float64Array::from(columns[2].clone()))),
        ("constant", Arc::new(Float64Array::from(vec![4.0; 400]))),
        ("label", Arc::new(Float64Array::from(label))),
    ])
}

#[test]
fn linear_regression_finds_the_closed_form() {
    let batch = linear_rows();
    for optimizer in [None, Some(Optimizer::Lbfgs)] {
        let options = TrainOptions {
            optimizer,
            ..options("linear_reg")
        };
        let trained = train(&batch, &hashes(400), &options, 2).unwrap();
        let [vatic_ml::data::labels::Labels::Number { std, .. }] = trained.config.labels[..] else {
            panic!("a regressor")
        };
        let slopes: Vec<f64> = trained.config.encoders[..3]
            .iter()
            .zip(&trained.weights)
            .map(|(encoder, weight)| weight * std / encoder.numbers[0].std)
            .collect();
        for (slope, expected) in slopes.iter().zip([3.0, -2e-6, 1e3]) {
            assert!(
                (slope / expected - 1.0).abs() < 1e-4,
                "{optimizer:?}: {slope}, expected {expected}"
            );
        }
    }
}

#[test]
fn logistic_regression_finds_the_penalised_optimum() {
    // With one feature in {-1, +1} and balanced counts the optimum solves sigmoid(w) - p + l2 w = 0.
    let rows = 1_000;
    let x: Vec<f64> = (0..rows)
        .map(|row| if row % 2 == 0 { -1.0 } else { 1.0 })
        .collect();
    let label: Vec<i64> = (0..rows)
        .map(|row| i64::from((row % 2 == 1) != (row % 10 < 2)))
        .collect();
    let share = (0..rows)
        .filter(|row| row % 2 == 1 && label[*row as usize] == 1)
        .count() as f64
        / 500.0;
    let l2 = 0.1;
    let mut expected = 0.0f64;
    for _ in 0..200 {
        let p = 1.0 / (1.0 + (-expected).exp());
        expected -= (p - share + l2 * expected) / (p * (1.0 - p) + l2);
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("x", Arc::new(Float64Array::from(x))),
        ("label", Arc::new(Int64Array::from(label))),
    ];
    let options = TrainOptions {
        l2_reg: Some(l2),
        ..options("logistic_reg")
    };
    let trained = train(&batch_of(columns), &hashes(rows as usize), &options, 2).unwrap();
    assert!(
        (trained.weights[0] - expected).abs() < 1e-4,
        "{} {expected}",
        trained.weights[0]
    );
}

#[test]
fn an_absolute_penalty_drops_a_useless_feature() {
    let mut draw = noise(9);
    let a: Vec<f64> = (0..500).map(|_| draw()).collect();
    let b: Vec<f64> = (0..500).map(|_| draw()).collect();
    let label: Vec<f64> = a.iter().map(|a| 2.0 * a + 0.01 * draw()).collect();
    let batch = batch_of(vec![
        ("a", Arc::new(Float64Array::from(a))),
        ("b", Arc::new(Float64Array::from(b))),
        ("label", Arc::new(Float64Array::from(label))),
    ]);
    let trained = train(
        &batch,
        &hashes(500),
        &TrainOptions {
            l1_reg: 0.1,
            ..options("linear_reg")
        },
        1,
    )
    .unwrap();
    // On standardised columns the lasso shrinks the correlation by the penalty.
    assert!(
        (trained.weights[0] - 0.9).abs() < 0.01,
        "{:?}",
        trained.weights
    );
    assert_eq!(trained.weights[1], 0.0);
}

/// The columns of a CSV file except the first column: numbers, then the label.
fn csv(name: &str) -> RecordBatch {
    // Relative to the package, where cargo runs tests: a path from build time may outlive its checkout.
    let path = format!("../sql-tests/data/{name}");
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let rows: Vec<Vec<&str>> = lines.collect();
    let label = names.len() - 1;
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    for column in 1..label {
        let values = rows.iter().map(|row| row[column].parse::<f64>().unwrap());
        columns.push((
            names[column],
            Arc::new(Float64Array::from_iter_values(values)),
        ));
    }
    let labels = StringArray::from_iter_values(rows.iter().map(|row| row[label]));
    columns.push((names[label], Arc::new(labels)));
    batch_of(columns)
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error < 1e-2 * expected.abs().max(0.1),
            "{index}: {found}, expected {expected}"
        );
    }
}

/// Expected: scikit-learn 1.9.1, `LogisticRegression(C=1, tol=1e-10, max_iter=10000)` after `StandardScaler`.
#[test]
fn logistic_regression_of_two_classes_has_the_coefficients_of_scikit_learn() {
    let expected = [
        0.36309, 0.38768, 0.35106, 0.43561, 0.16183, -0.56265, 0.85992, 0.96228, -0.07621,
        -0.32223, 1.29094, -0.26892, 0.65998, 1.01256, 0.27721, -0.73632, -0.11054, 0.33341,
        -0.29579, -0.68092, 1.02926, 1.31461, 0.82335, 1.01071, 0.67068, -0.04456, 0.87333, 0.912,
        0.88784, 0.47982, -0.2145,
    ];
    let trained = train(
        &csv("breast_cancer.csv"),
        &hashes(569),
        &options("logistic_reg"),
        2,
    )
    .unwrap();
    assert_close(&trained.weights, &expected);
}

/// Expected: as above. Intercepts are unique up to a constant, so their differences are compared.
#[test]
fn logistic_regression_of_three_classes_has_the_coefficients_of_scikit_learn() {
    let expected = [
        -1.07407, 0.58781, 0.48626, 1.16012, -0.36184, -0.79827, -1.93069, -0.36343, 2.29412,
        -1.81156, -0.82627, 2.63783,
    ];
    let trained = train(&csv("iris.csv"), &hashes(150), &options("logistic_reg"), 3).unwrap();
    let (weights, intercepts) = trained.weights.split_at(12);
    assert_close(weights, &expected);
    let differences = [intercepts[1] - intercepts[0], intercepts[2] - intercepts[0]];
    assert_close(&differences, &[2.07484 + 0.20524, -1.8696 + 0.20524]);
}

/// Exact data, which scikit-learn's `LinearRegression` fits to 1e-10: the features have very different sizes, or nearly
/// depend on each other.
#[test]
fn exact_data_are_found_exactly() {
    let mut draw = noise(11);
    let wide: Vec<f64> = (0..200).map(|row| 1.5f64.powi(row / 8) + draw()).collect();
    let near: Vec<f64> = wide.iter().map(|x| x * 3.0 + 0.1 * draw()).collect();
    let small: Vec<f64> = (0..200).map(|_| 1e-6 * draw()).collect();
    let label: Vec<f64> = (0..200)
        .map(|row| 2.0 * wide[row] - 0.5 * near[row] + 1e5 * small[row] + 1.0)
        .collect();
    let batch = batch_of(vec![
        ("wide", Arc::new(Float64Array::from(wide.clone()))),
        ("near", Arc::new(Float64Array::from(near))),
        ("small", Arc::new(Float64Array::from(small))),
        ("label", Arc::new(Float64Array::from(label.clone()))),
    ]);
    let trained = train(&batch, &hashes(200), &options("linear_reg"), 2).unwrap();
    let features = batch.project(&[0, 1, 2]).unwrap();
    let outputs = crate::predict(&crate::model(&trained), &features);
    assert_eq!(outputs.scores.len(), label.len());
    for (predicted, label) in outputs.scores.iter().zip(&label) {
        let error = (predicted - label).abs();
        assert!(
            error < 1e-9 * label.abs().max(1.0),
            "{predicted}, expected {label}"
        );
    }
}

/// `l1_reg` and `l2_reg` are the same penalties for every optimiser.
#[test]
fn every_optimizer_minimises_the_same_penalised_loss() {
    let mut draw = noise(5);
    let a: Vec<f64> = (0..2_000).map(|_| draw()).collect();
    let b: Vec<f64> = (0..2_000).map(|_| draw()).collect();
    let label = (0..2_000).map(|row| i64::from(a[row] + 0.3 * draw() > 0.0));
    let batch = batch_of(vec![
        ("a", Arc::new(Float64Array::from(a.clone()))),
        ("b", Arc::new(Float64Array::from(b))),
        ("label", Arc::new(Int64Array::from_iter_values(label))),
    ]);
    for (l1_reg, l2_reg) in [(0.0, 0.1), (0.05, 0.0), (0.02, 0.05)] {
        let found = |optimizer| {
            let is_stepwise = optimizer != Optimizer::Lbfgs;
            let options = TrainOptions {
                l1_reg,
                l2_reg: Some(l2_reg),
                optimizer: Some(optimizer),
                epochs: is_stepwise.then_some(60),
                learn_rate: if optimizer == Optimizer::Sgd {
                    0.05
                } else {
                    0.02
                },
                lr_schedule: vatic_ml::model::options::Schedule::Cosine,
                early_stop: false,
                ..options("logistic_reg")
            };
            train(&batch, &hashes(2_000), &options, 2).unwrap()
        };
        let exact = found(Optimizer::Lbfgs);
        for optimizer in [Optimizer::Adamw, Optimizer::Sgd] {
            let other = found(optimizer);
            let pairs = other.weights.iter().zip(&exact.weights);
            for (weight, expected) in pairs {
                assert!(
                    (weight - expected).abs() < 0.02,
                    "{} with {l1_reg}, {l2_reg}: {:?}, expected {:?}",
                    optimizer.name(),
                    other.weights,
                    exact.weights
                );
            }
        }
    }
}
