//! One seed gives one result, bit for bit, whatever the number of workers and the order of rows.

use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch, StringArray, UInt32Array};
use vatic_ml::model::options::{DataSplit, Optimizer, TrainOptions};
use vatic_ml::nn::Activation;

use crate::{batch_of, noise, train};

fn rows(count: usize) -> (RecordBatch, Vec<u128>) {
    let mut draw = noise(1);
    let x: Vec<f64> = (0..count).map(|_| draw() * 10.0).collect();
    let colour: Vec<&str> = (0..count)
        .map(|_| ["red", "green", "blue"][(draw().abs() * 3.0) as usize % 3])
        .collect();
    let label: Vec<&str> = x
        .iter()
        .map(|x| if x.sin() > 0.0 { "up" } else { "down" })
        .collect();
    let batch = batch_of(vec![
        ("x", Arc::new(Float64Array::from(x))),
        ("colour", Arc::new(StringArray::from(colour))),
        ("label", Arc::new(StringArray::from(label))),
    ]);
    (
        batch,
        (0..count as u128)
            .map(|row| row.wrapping_mul(0x1234_5678_9abc_def0_1122_3344_5566_7789))
            .collect(),
    )
}

fn options(model_type: &str) -> TrainOptions {
    TrainOptions {
        model_type: model_type.into(),
        hidden_units: vec![16, 8],
        epochs: Some(4),
        batch_size: Some(64),
        dropout: 0.2,
        seed: 42,
        ..Default::default()
    }
}

#[test]
fn any_number_of_workers_gives_the_same_weights() {
    let (batch, hashes) = rows(500);
    for model_type in ["dnn_classifier", "logistic_reg"] {
        let alone = train(&batch, &hashes, &options(model_type), 1).unwrap();
        for workers in [2, 3, 8] {
            let together = train(&batch, &hashes, &options(model_type), workers).unwrap();
            assert_eq!(
                together.weights, alone.weights,
                "{model_type}, {workers} workers"
            );
            assert_eq!(together.metrics, alone.metrics);
            assert_eq!(together.rows_hash, alone.rows_hash);
            assert_eq!(
                (together.train_loss, together.eval_loss),
                (alone.train_loss, alone.eval_loss)
            );
        }
    }
}

/// Whether arrow gives a shard without NULLs a null bitmap depends on which shards share a worker.
#[test]
fn a_null_in_one_shard_does_not_show_in_the_statistics_of_others() {
    let (batch, hashes) = rows(400);
    let mut draw = noise(9);
    let x: Float64Array = (0..400)
        .map(|row| (row != 17).then(|| draw() * 10.0))
        .collect();
    let batch = batch_of(vec![
        ("x", Arc::new(x)),
        ("colour", Arc::clone(batch.column(1))),
        ("label", Arc::clone(batch.column(2))),
    ]);
    let options = TrainOptions {
        data_split: DataSplit::None,
        null_handling: vatic_ml::model::options::NullHandling::Impute,
        ..options("logistic_reg")
    };
    let alone = train(&batch, &hashes, &options, 1).unwrap();
    for workers in [2, 3, 8] {
        let together = train(&batch, &hashes, &options, workers).unwrap();
        assert_eq!(
            together.config.encoders, alone.config.encoders,
            "{workers} workers"
        );
        assert_eq!(together.weights, alone.weights, "{workers} workers");
    }
}

#[test]
fn the_order_of_rows_does_not_show() {
    let (batch, hashes) = rows(300);
    let order: Vec<u32> = (0..300).rev().collect();
    let turned =
        arrow::compute::take_record_batch(&batch, &UInt32Array::from(order.clone())).unwrap();
    let turned_hashes: Vec<u128> = order.iter().map(|&row| hashes[row as usize]).collect();
    let first = train(&batch, &hashes, &options("dnn_classifier"), 2).unwrap();
    let second = train(&turned, &turned_hashes, &options("dnn_classifier"), 3).unwrap();
    assert_eq!(first.weights, second.weights);
}

#[test]
fn another_seed_gives_other_weights() {
    let (batch, hashes) = rows(300);
    let first = train(&batch, &hashes, &options("dnn_classifier"), 1).unwrap();
    let other = TrainOptions {
        seed: 43,
        ..options("dnn_classifier")
    };
    assert_ne!(
        train(&batch, &hashes, &other, 1).unwrap().weights,
        first.weights
    );
}

#[test]
fn fewer_rows_than_workers_train() {
    let (batch, hashes) = rows(5);
    let all = TrainOptions {
        data_split: DataSplit::None,
        ..options("dnn_classifier")
    };
    assert_eq!(
        train(&batch, &hashes, &all, 8).unwrap().weights,
        train(&batch, &hashes, &all, 1).unwrap().weights
    );
}

#[test]
fn every_activation_and_optimizer_trains() {
    let (batch, hashes) = rows(200);
    for (_, activation) in Activation::ALL {
        for optimizer in [Optimizer::Adamw, Optimizer::Sgd] {
            let options = TrainOptions {
                activation: *activation,
                optimizer: Some(optimizer),
                early_stop: false,
                epochs: Some(10),
                ..options("dnn_classifier")
            };
            let trained = train(&batch, &hashes, &options, 2).unwrap();
            let (first, last) = (trained.history[0].train_loss, trained.history[9].train_loss);
            assert!(
                last < first,
                "{} {}: {first} to {last}",
                activation.name(),
                optimizer.name()
            );
        }
    }
}

#[test]
fn an_error_of_one_worker_ends_all() {
    let (batch, hashes) = rows(100);
    let wild = TrainOptions {
        learn_rate: 1e30,
        optimizer: Some(Optimizer::Sgd),
        ..options("dnn_classifier")
    };
    let error = train(&batch, &hashes, &wild, 3).unwrap_err().to_string();
    assert!(error.contains("not finite"), "{error}");
}
