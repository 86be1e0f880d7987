//! A model computes in bf16 and f16 what it computes in f32, up to rounding. The host stands in for a GPU.

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use vatic_ml::device::DeviceName;
use vatic_ml::model::Model;
use vatic_ml::model::compute::{ComputeType, LoadOptions};
use vatic_ml::model::options::{DataSplit, TrainOptions};
use vatic_ml::model::trained::TrainedModel;
use vatic_ml::nn::Activation;
use vatic_ml::train::fit::Trained;

use crate::sequences::lists;
use crate::{batch_of, model_type, noise, predict, train};

const ROWS: usize = 300;

/// Two numbers, a category, and a label that depends on all of them.
fn rows(label: impl Fn(f64) -> i64) -> (RecordBatch, Vec<u128>) {
    let mut draw = noise(11);
    let numbers: Vec<[f64; 2]> = (0..ROWS).map(|_| [draw(), 20.0 * draw()]).collect();
    let colours = (0..ROWS).map(|row| ["red", "green", "blue"][row % 3]);
    let scores = numbers.iter().enumerate().map(|(row, [a, b])| {
        let of_colour = [0.0, 0.5, -0.5][row % 3];
        label(a + b / 20.0 + of_colour)
    });
    let batch = batch_of(vec![
        (
            "a",
            Arc::new(Float64Array::from_iter_values(
                numbers.iter().map(|row| row[0]),
            )),
        ),
        (
            "b",
            Arc::new(Float64Array::from_iter_values(
                numbers.iter().map(|row| row[1]),
            )),
        ),
        ("colour", Arc::new(StringArray::from_iter_values(colours))),
        ("label", Arc::new(Int64Array::from_iter_values(scores))),
    ]);
    (batch, (0..ROWS as u128).collect())
}

fn trained(rows: &(RecordBatch, Vec<u128>), activation: Activation) -> Trained {
    let options = TrainOptions {
        model_type: "dnn_classifier".into(),
        hidden_units: vec![16, 8],
        activation,
        epochs: Some(6),
        learn_rate: 0.02,
        early_stop: false,
        data_split: DataSplit::None,
        shards: Some(1),
        ..TrainOptions::default()
    };
    train(&rows.0, &rows.1, &options, 1).unwrap()
}

fn model(trained: &Trained, compute: Option<ComputeType>) -> TrainedModel {
    let options = LoadOptions {
        device: DeviceName::Cpu.open().unwrap(),
        compute,
    };
    let model_type = model_type(&trained.config.options.model_type);
    TrainedModel::new(
        trained.config.clone(),
        model_type,
        &trained.weights,
        &options,
    )
    .unwrap()
}

#[test]
fn probabilities_in_16_bits_are_those_of_f32_but_for_their_rounding() {
    let two = rows(|score| i64::from(score > 0.0));
    let three = rows(|score| i64::from(score > -0.4) + i64::from(score > 0.4));
    for (name, activation) in Activation::ALL {
        for rows in [&two, &three] {
            let trained = trained(rows, *activation);
            let features = rows.0.project(&[0, 1, 2]).unwrap();
            let full = model(&trained, None);
            let expected = predict(&full, &features).scores;
            assert_eq!(full.compute_type(), ComputeType::F32);
            for compute in [ComputeType::Bf16, ComputeType::F16] {
                let half = model(&trained, Some(compute));
                assert_eq!(half.compute_type(), compute);
                assert_eq!(2 * half.bytes(), full.bytes());
                assert!(half.working_bytes(100) < full.working_bytes(100));
                let scores = predict(&half, &features).scores;
                assert_eq!(scores.len(), expected.len());
                let differences = scores.iter().zip(&expected).map(|(a, b)| (a - b).abs());
                let worst = differences.clone().fold(0.0, f64::max);
                let mean = differences.sum::<f64>() / scores.len() as f64;
                // bf16 has three bits fewer than f16.
                let most = match compute {
                    ComputeType::Bf16 => 4e-2,
                    _ => 5e-3,
                };
                let is_close = worst > 0.0 && worst < most && mean < most / 8.0;
                assert!(is_close, "{name}, {compute}: {worst}, {mean}");
            }
        }
    }
}

#[test]
fn ids_keep_all_their_digits_in_16_bits() {
    // bf16 holds no odd number above 256, f16 none above 2,048.
    let tokens = (0..ROWS as i64).map(|row| vec![2 * row + 1, 4_999 - 2 * row]);
    let mut draw = noise(5);
    let numbers = (0..ROWS).map(|_| draw());
    let colours = (0..ROWS).map(|row| ["red", "green", "blue"][row % 3]);
    let labels = (0..ROWS as i64).map(|row| row % 2);
    let batch = batch_of(vec![
        ("tokens", Arc::new(lists(tokens.collect()))),
        ("x", Arc::new(Float64Array::from_iter_values(numbers))),
        ("colour", Arc::new(StringArray::from_iter_values(colours))),
        ("label", Arc::new(Int64Array::from_iter_values(labels))),
    ]);
    let features = batch.project(&[0, 1, 2]).unwrap();
    let layers = [
        "embedding(5000, 2)",
        "flatten",
        "inputs(3)",
        "linear(classes)",
    ];
    let options = TrainOptions {
        model_type: "sequential".into(),
        layers: layers.map(str::to_owned).to_vec(),
        epochs: Some(1),
        data_split: DataSplit::None,
        shards: Some(1),
        ..TrainOptions::default()
    };
    let hashes: Vec<u128> = (0..ROWS as u128).collect();
    let trained = train(&batch, &hashes, &options, 1).unwrap();
    let expected = predict(&model(&trained, None), &features).scores;
    for (compute, most) in [(ComputeType::Bf16, 4e-2), (ComputeType::F16, 5e-3)] {
        let scores = predict(&model(&trained, Some(compute)), &features).scores;
        let differences = scores.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let worst = differences.fold(0.0, f64::max);
        assert!(worst > 0.0 && worst < most, "{compute}: {worst}");
    }
}

#[test]
fn tf32_is_f32_where_no_gpu_rounds_to_it() {
    let rows = rows(|score| i64::from(score > 0.0));
    let trained = trained(&rows, Activation::Relu);
    let features = rows.0.project(&[0, 1, 2]).unwrap();
    let (full, tf32) = (
        model(&trained, None),
        model(&trained, Some(ComputeType::Tf32)),
    );
    assert_eq!(tf32.bytes(), full.bytes());
    let scores = |model| predict(model, &features).scores;
    assert_eq!(scores(&tf32), scores(&full));
}

#[test]
fn a_row_alone_has_the_probabilities_that_it_has_among_others() {
    let rows = rows(|score| i64::from(score > 0.0));
    let trained = trained(&rows, Activation::Tanh);
    let half = model(&trained, Some(ComputeType::F16));
    let features = rows.0.project(&[0, 1, 2]).unwrap();
    let together = predict(&half, &features).scores;
    // One row names fewer categories than the model has, all rows name more: two ways to sum their weights.
    for row in 0..20 {
        let alone = predict(&half, &features.slice(row, 1)).scores;
        let both = alone.iter().zip(&together[row * 2..]);
        assert!(both.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) < 5e-3);
    }
}
