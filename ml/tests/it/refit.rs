//! Second trainings on all rows: how many epochs they have, and what happens if they fail.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BooleanArray, Float64Array, RecordBatch};
use vatic_ml::model::options::{DataSplit, TrainOptions};
use vatic_ml::train::fit::Trained;

use crate::{batch_of, noise, spec_of, train_spec};

/// Rows of a noisy line; every fifth evaluates. The number of the first of these is `first`.
fn rows(first: f64) -> (RecordBatch, Vec<u128>) {
    let mut draw = noise(5);
    let mut x: Vec<f64> = (0..200).map(|_| draw()).collect();
    let y: Vec<f64> = x.iter().map(|x| x + draw()).collect();
    x[0] = first;
    let evaluates = (0..200).map(|row| Some(row % 5 == 0));
    let batch = batch_of(vec![
        ("x", Arc::new(Float64Array::from(x))),
        ("label", Arc::new(Float64Array::from(y))),
        ("evaluates", Arc::new(evaluates.collect::<BooleanArray>())),
    ]);
    let hash = |row: u128| row.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (batch, (0..200).map(hash).collect())
}

/// Trains as [`crate::train`] does; the last column, which is no feature, says which rows evaluate.
fn train(
    (batch, hashes): &(RecordBatch, Vec<u128>),
    options: &TrainOptions,
    workers: usize,
    spent: Duration,
) -> Trained {
    let spec = spec_of(&batch.project(&[0, 1]).unwrap(), options);
    train_spec(&spec, spent, batch, hashes, workers).unwrap()
}

fn options(refit: bool) -> TrainOptions {
    TrainOptions {
        model_type: "dnn_regressor".into(),
        hidden_units: vec![32],
        learn_rate: 0.03,
        epochs: Some(30),
        refit: Some(refit),
        data_split: DataSplit::Column {
            name: "evaluates".into(),
        },
        ..Default::default()
    }
}

#[test]
fn a_second_training_ends_with_the_best_epoch_of_the_first() {
    let rows = rows(0.0);
    let twice = train(&rows, &options(true), 1, Duration::ZERO);
    let refit = twice.refit.unwrap();
    let losses: Vec<f64> = twice
        .history
        .iter()
        .map(|epoch| epoch.eval_loss.unwrap())
        .collect();
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(losses[refit.epochs - 1], best);
    assert!(refit.epochs < losses.len(), "{losses:?}");
    assert_eq!(refit.rows, 200);
    for workers in [2, 3] {
        let other = train(&rows, &options(true), workers, Duration::ZERO);
        assert_eq!(other.weights, twice.weights, "{workers} workers");
    }
    // The figures are those of the first.
    let once = train(&rows, &options(false), 2, Duration::ZERO);
    assert_ne!(once.weights, twice.weights);
    assert_eq!((once.train_rows, once.eval_rows), (160, 40));
    assert_eq!((twice.train_rows, twice.eval_rows), (160, 40));
    assert_eq!(once.metrics, twice.metrics);
}

#[test]
fn a_second_training_that_diverges_leaves_the_model_of_the_first() {
    let rows = rows(1e25);
    let once = train(&rows, &options(false), 1, Duration::ZERO);
    for workers in [1, 3] {
        let kept = train(&rows, &options(true), workers, Duration::ZERO);
        assert_eq!(kept.refit, None);
        assert_eq!(kept.weights, once.weights);
        let notice = kept.notices.last().unwrap();
        assert!(notice.starts_with("the loss is not finite"), "{notice}");
        assert!(
            notice.ends_with("the model is that of the first"),
            "{notice}"
        );
    }
}

#[test]
fn a_training_that_is_out_of_time_in_its_last_epoch_says_that_there_is_no_second() {
    let rows = rows(0.0);
    let hurried = TrainOptions {
        epochs: Some(1),
        max_runtime_s: Some(60.0),
        ..options(true)
    };
    let late = train(&rows, &hurried, 3, Duration::from_secs(61));
    assert_eq!(late.refit, None);
    assert_eq!(
        late.notices.last().unwrap(),
        "max_runtime_s = 60 ended the training after epoch 1, before the second training, on all rows"
    );
}
