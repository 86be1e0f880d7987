//! Layers over sequences: their gradients against finite differences, their values against numpy (`fixtures/sequences.py`),
//! and what networks of them learn.

use std::sync::Arc;

use arrow::array::{Array, Int64Array, ListArray, RecordBatch};
use arrow::datatypes::Int64Type;
use candle_core::{DType, Device, Tensor, Var};
use vatic_ml::model::Model;
use vatic_ml::model::network::Network;
use vatic_ml::model::options::TrainOptions;
use vatic_ml::nn::{Cell, CellWeights, Direction, embedding, recurrent};

use crate::gradients::check_within;
use crate::layers::{network, numbers, reversed};
use crate::{batch_of, model, noise, predict, train};

const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Backward];

fn cell_weights(weights: &[Tensor]) -> CellWeights<'_> {
    CellWeights {
        weight_ih: &weights[0],
        weight_hh: &weights[1],
        bias_ih: &weights[2],
        bias_hh: &weights[3],
    }
}

#[test]
fn gradients_of_recurrent_cells() {
    for (cell, gates) in [(Cell::Lstm, 4), (Cell::Gru, 3)] {
        for direction in DIRECTIONS {
            for length in [1, 4] {
                let (units, features) = (3, 2);
                let products = gates * units;
                check_within(
                    1e-7,
                    &format!("{cell:?} {direction:?} {length}"),
                    &[
                        &[2, length, features],
                        &[products, features],
                        &[products, units],
                        &[products],
                        &[products],
                    ],
                    |v| recurrent(cell, &v[0], cell_weights(&v[1..]), direction),
                );
            }
        }
    }
}

#[test]
fn gradient_of_an_embedding_with_a_repeated_id() {
    let ids = Tensor::new(&[0u32, 3, 3, 2], &Device::Cpu).unwrap();
    check_within(1e-8, "embedding", &[&[5, 2]], |v| embedding(&ids, &v[0]));
    let weight = numbers(&[5, 2]);
    let unknown = Tensor::new(&[5u32], &Device::Cpu).unwrap();
    assert!(embedding(&unknown, &weight).is_err());
}

#[derive(serde::Deserialize)]
struct Case {
    cell: String,
    direction: String,
    y: Vec<f64>,
}

#[test]
fn recurrent_cells_agree_with_numpy() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("fixtures/sequences.json")).unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let cell = match case.cell.as_str() {
            "lstm" => Cell::Lstm,
            _ => Cell::Gru,
        };
        let direction = match case.direction.as_str() {
            "forward" => Direction::Forward,
            _ => Direction::Backward,
        };
        let products = cell.gates() * 2;
        let weights = [
            numbers(&[products, 3]),
            reversed(&[products, 2]),
            numbers(&[products]),
            reversed(&[products]),
        ];
        let y = recurrent(
            cell,
            &numbers(&[2, 4, 3]),
            cell_weights(&weights),
            direction,
        );
        let y = y.unwrap();
        assert_eq!(y.dims(), [4, 2, 2]);
        let found = y.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (found, expected) in found.iter().zip(&case.y) {
            let error = (found - expected).abs();
            assert!(error < 1e-9, "{cell:?} {direction:?}: {found}, {expected}");
        }
    }
}

/// candle's own backward pass over so many steps would need a stack of many megabytes; a test has two.
#[test]
fn a_long_sequence_has_a_gradient() {
    let x = Tensor::ones((1, 5_000, 1), DType::F32, &Device::Cpu).unwrap();
    let weights = [&[8, 1][..], &[8, 2], &[8], &[8]].map(|shape| {
        let count: usize = shape.iter().product();
        Var::from_vec(vec![0.1f32; count], shape, &Device::Cpu).unwrap()
    });
    let tensors = weights.each_ref().map(|weight| weight.as_tensor().clone());
    let y = recurrent(Cell::Lstm, &x, cell_weights(&tensors), Direction::Forward).unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    let slopes = gradients.get(&tensors[1]).unwrap().flatten_all().unwrap();
    assert!(
        slopes
            .to_vec1::<f32>()
            .unwrap()
            .iter()
            .all(|slope| slope.is_finite())
    );
}

#[test]
fn weights_are_named_and_counted_as_in_pytorch() {
    let texts = [
        "lstm(4, sequences=true)",
        "gru(2, bidirectional=true)",
        "linear(1)",
    ];
    let network = network(&texts, &[5, 3], 1);
    let parameters = network.parameters().iter();
    let found = parameters.map(|spec| (spec.name.as_str(), spec.shape.as_slice()));
    let expected: [(&str, &[usize]); 14] = [
        ("layer1.weight_ih", &[16, 3]),
        ("layer1.weight_hh", &[16, 4]),
        ("layer1.bias_ih", &[16]),
        ("layer1.bias_hh", &[16]),
        ("layer2.weight_ih", &[6, 4]),
        ("layer2.weight_hh", &[6, 2]),
        ("layer2.bias_ih", &[6]),
        ("layer2.bias_hh", &[6]),
        ("layer2.weight_ih_reverse", &[6, 4]),
        ("layer2.weight_hh_reverse", &[6, 2]),
        ("layer2.bias_ih_reverse", &[6]),
        ("layer2.bias_hh_reverse", &[6]),
        ("layer3.weight", &[4, 1]),
        ("layer3.bias", &[1]),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    let layers = network.layers();
    let sizes = layers
        .iter()
        .map(|layer| (layer.output.as_slice(), layer.parameters, layer.flops));
    let expected: [(&[usize], usize, u64); 3] = [
        (&[5, 4], 144, 2 * 5 * 16 * (3 + 4)),
        (&[4], 96, 2 * 2 * 5 * 6 * (4 + 2)),
        (&[1], 5, 8),
    ];
    assert_eq!(sizes.collect::<Vec<_>>(), expected);
}

/// Six tokens below four, and whether the first of them is above one.
fn tokens(count: usize) -> (RecordBatch, Vec<u128>) {
    let mut draw = noise(9);
    let rows: Vec<Vec<i64>> = (0..count)
        .map(|_| (0..6).map(|_| (draw().abs() * 4.0) as i64 % 4).collect())
        .collect();
    let label = Int64Array::from_iter_values(rows.iter().map(|row| i64::from(row[0] > 1)));
    let hashes = (0..count as u128).map(|row| row.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let batch = batch_of(vec![
        ("tokens", Arc::new(lists(rows))),
        ("label", Arc::new(label)),
    ]);
    (batch, hashes.collect())
}

pub(crate) fn lists(rows: Vec<Vec<i64>>) -> ListArray {
    let rows = rows.into_iter();
    let rows = rows.map(|row| Some(row.into_iter().map(Some).collect::<Vec<_>>()));
    ListArray::from_iter_primitive::<Int64Type, _, _>(rows)
}

fn options(layers: &[&str]) -> TrainOptions {
    TrainOptions {
        model_type: "sequential".into(),
        layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
        batch_size: Some(64),
        epochs: Some(12),
        learn_rate: 0.02,
        ..TrainOptions::default()
    }
}

#[test]
fn cells_remember_the_first_token_for_any_number_of_workers() {
    let (batch, hashes) = tokens(300);
    for cell in ["lstm(8)", "gru(4, bidirectional=true)"] {
        let options = options(&["embedding(4, 4)", cell, "linear(classes)"]);
        let alone = train(&batch, &hashes, &options, 1).unwrap();
        let metrics = &alone.metrics;
        let accuracy = metrics.iter().find(|metric| metric.name == "accuracy");
        let accuracy = accuracy.unwrap().value.unwrap();
        assert!(accuracy > 0.95, "{cell}: {accuracy}");
        for workers in [2, 3] {
            let together = train(&batch, &hashes, &options, workers).unwrap();
            assert_eq!(together.weights, alone.weights, "{cell}, {workers}");
        }
    }
}

#[test]
fn a_row_with_another_number_than_an_id_fails_alone() {
    let (batch, hashes) = tokens(60);
    let layers = ["embedding(4, 2)", "gru(2)", "linear(classes)"];
    let trained = train(&batch, &hashes, &options(&layers), 1).unwrap();
    let numbers = &trained.config.encoders[0].numbers;
    assert!(
        numbers
            .iter()
            .all(|number| (number.mean, number.std) == (0.0, 1.0))
    );
    let rows = lists(vec![vec![0, 1, 2, 3, 0, 1], vec![0, 1, 2, 4, 0, 1]]);
    let rows = batch_of(vec![("tokens", Arc::new(rows))]);
    let model = model(&trained);
    let cause = "column \"tokens\" holds 4, the model takes whole numbers from 0 to 3";
    let failures = model.encode(&rows).unwrap().report.failures;
    assert_eq!(failures, [(1, cause.to_owned())]);
    assert_eq!(predict(&model, &rows).columns[0].null_count(), 1);
    let layers = ["embedding(3, 2)", "gru(2)", "linear(classes)"];
    let error = train(&batch, &hashes, &options(&layers), 1).unwrap_err();
    let expected = "column \"tokens\" holds 3, the model takes whole numbers from 0 to 2";
    assert_eq!(error.to_string(), expected);
}
