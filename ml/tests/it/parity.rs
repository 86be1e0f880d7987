//! Results against closed forms and against scikit-learn.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use vatic_ml::options::{DataSplit, Optimizer, TrainOptions};

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
        let vatic_ml::labels::Labels::Number { std, .. } = trained.config.labels else {
            panic!("a regressor")
        };
        let slopes: Vec<f64> = trained.config.encoders[..3]
            .iter()
            .zip(&trained.weights)
            .map(|(encoder, weight)| f64::from(*weight) * std / encoder.numbers[0].std)
            .collect();
        for (slope, expected) in slopes.iter().zip([3.0, -2e-6, 1e3]) {
            assert!(
                (slope / expected - 1.0).abs() < 1e-4,
                "{optimizer:?}: {slope}, expected {expected}"
            );
        }
    }
}

/// Made by scikit-learn: `LogisticRegression(C=1/(n*l2))` on the standardised columns.
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
        (f64::from(trained.weights[0]) - expected).abs() < 1e-4,
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
