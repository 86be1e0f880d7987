//! Batch norm: its gradient, and the running statistics, which training measures and no optimiser changes.

use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch};
use candle_core::{Device, Tensor};
use vatic_ml::model::Model;
use vatic_ml::model::options::{DataSplit, Optimizer, TrainOptions};
use vatic_ml::nn::{ChannelStatistics, batch_norm_inference, batch_norm_training};

use crate::gradients::check_within;
use crate::layers::images;
use crate::{batch_of, model, noise, predict, train};

#[test]
fn gradients_of_batch_norm() {
    let constant = |values: &[f64; 3]| Tensor::new(values, &Device::Cpu).unwrap();
    let running = ChannelStatistics {
        mean: constant(&[0.3, -0.2, 0.1]),
        variance: constant(&[0.5, 1.0, 2.0]),
    };
    for shape in [&[6, 3][..], &[4, 3, 5], &[2, 3, 2, 2]] {
        let shapes = [shape, &[3], &[3]];
        check_within(1e-7, &format!("training {shape:?}"), &shapes, |v| {
            Ok(batch_norm_training(&v[0], &v[1], &v[2], &running)?.0)
        });
        check_within(1e-7, &format!("inference {shape:?}"), &shapes, |v| {
            batch_norm_inference(&v[0], &v[1], &v[2], &running)
        });
    }
}

/// Two numbers and a label.
fn numbers(count: usize) -> (RecordBatch, Vec<u128>) {
    let mut draw = noise(6);
    let x: Vec<f64> = (0..count).map(|_| draw() * 10.0).collect();
    let y: Vec<f64> = (0..count).map(|_| draw() + 5.0).collect();
    let label: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x - 3.0 * y).collect();
    let batch = batch_of(vec![
        ("x", Arc::new(Float64Array::from(x))),
        ("y", Arc::new(Float64Array::from(y))),
        ("label", Arc::new(Float64Array::from(label))),
    ]);
    let hashes = (0..count as u128).map(|row| row.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (batch, hashes.collect())
}

fn options(layers: &[&str]) -> TrainOptions {
    TrainOptions {
        model_type: "sequential".into(),
        layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
        batch_size: Some(64),
        early_stop: false,
        seed: 3,
        ..TrainOptions::default()
    }
}

#[test]
fn no_optimiser_and_no_penalty_changes_a_running_statistic() {
    let (batch, hashes) = numbers(320);
    let plain = TrainOptions {
        epochs: Some(3),
        data_split: DataSplit::None,
        ..options(&["batch_norm", "linear(1)"])
    };
    let adamw = TrainOptions {
        learn_rate: 0.1,
        weight_decay: 0.5,
        clip_norm: Some(0.01),
        ..plain.clone()
    };
    let sgd = TrainOptions {
        optimizer: Some(Optimizer::Sgd),
        l1_reg: 0.1,
        l2_reg: Some(0.1),
        ..plain.clone()
    };
    let weights = |options: &TrainOptions| train(&batch, &hashes, options, 2).unwrap().weights;
    // The factor and the summand of both numbers, then the running means and variances, then the linear layer.
    let running = 4..8;
    let first = weights(&plain);
    for options in [&adamw, &sgd] {
        let other = weights(options);
        assert_eq!(other[running.clone()], first[running.clone()]);
        assert_ne!(other, first);
    }
    // The numbers are standardised; fifteen steps lead from the first values to theirs.
    let (means, variances) = first[running].split_at(2);
    assert!(means.iter().all(|mean| *mean != 0.0 && mean.abs() < 0.2));
    let is_near = |variance: &f64| *variance != 1.0 && (variance - 1.0).abs() < 0.3;
    assert!(variances.iter().all(is_near), "{variances:?}");
}

#[test]
fn a_prediction_does_not_depend_on_the_rows_beside_it() {
    let (batch, hashes) = numbers(200);
    let layers = ["linear(8)", "batch_norm", "relu", "linear(1)"];
    let options = TrainOptions {
        epochs: Some(40),
        learn_rate: 0.02,
        ..options(&layers)
    };
    let trained = train(&batch, &hashes, &options, 1).unwrap();
    let r2 = trained.metrics.iter().find(|metric| metric.name == "r2");
    assert!(r2.unwrap().value.unwrap() > 0.8, "{:?}", trained.metrics);
    let model = model(&trained);
    let features = batch.project(&[0, 1]).unwrap();
    let all = predict(&model, &features).scores;
    for row in [0, 17, 199] {
        let alone = predict(&model, &features.slice(row, 1)).scores;
        assert!((alone[0] - all[row]).abs() < 1e-4 * (1.0 + all[row].abs()));
    }
}

#[test]
fn batch_norm_does_not_depend_on_the_number_of_workers() {
    let (batch, hashes) = images(300);
    let layers = [
        "conv2d(6, 3)",
        "batch_norm",
        "relu",
        "max_pool2d(2)",
        "flatten",
        "linear(8)",
        "batch_norm",
        "relu",
        "dropout(0.1)",
        "linear(classes)",
    ];
    let options = TrainOptions {
        input_shape: vec![1, 6, 6],
        epochs: Some(20),
        learn_rate: 0.01,
        ..options(&layers)
    };
    let alone = train(&batch, &hashes, &options, 1).unwrap();
    let accuracy = alone
        .metrics
        .iter()
        .find(|metric| metric.name == "accuracy");
    let accuracy = accuracy.unwrap().value.unwrap();
    assert!(accuracy > 0.8, "{accuracy}");
    for workers in [2, 3, 8] {
        let together = train(&batch, &hashes, &options, workers).unwrap();
        assert_eq!(together.weights, alone.weights, "{workers}");
    }
    let layers = model(&alone).layers();
    let sizes = layers.iter().map(|layer| layer.parameters);
    assert_eq!(sizes.take(2).collect::<Vec<_>>(), [60, 12]);
}

#[test]
fn steps_with_fewer_rows_than_shards_train() {
    let (batch, hashes) = numbers(21);
    let options = TrainOptions {
        epochs: Some(4),
        batch_size: Some(3),
        ..options(&["linear(4)", "batch_norm", "tanh", "linear(1)"])
    };
    let alone = train(&batch, &hashes, &options, 1).unwrap();
    let together = train(&batch, &hashes, &options, 4).unwrap();
    assert_eq!(together.weights, alone.weights);
}
