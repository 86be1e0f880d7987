//! Networks behind an encoder of texts, and trainings of the encoder itself, against PyTorch (`fixtures/tuning.py`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use candle_core::{Device, Tensor, Var};
use serde::Deserialize;
use vatic_ml::data::inputs::Inputs;
use vatic_ml::model::network::{Mode, Network};
use vatic_ml::model::options::{
    BaseModel, DataSplit, Freeze, Optimizer, TextOptions, TextPooling, TrainOptions,
};
use vatic_ml::model::text_base::padded_ids;
use vatic_ml::model::{Model, Wanted};
use vatic_ml::train::fit::Trained;

use super::directories;
use crate::{batch_of, model_type, noise, spec_of, train_spec};

/// Relative to the package, where cargo runs tests.
const ENCODER: &str = "../sql-tests/data/text_encoder";

#[derive(Deserialize)]
struct Fixture {
    texts: Vec<String>,
    labels: Vec<i64>,
    /// The tokens of each text.
    ids: Vec<Vec<u32>>,
    adamw: Vec<f64>,
    sgd: Vec<f64>,
    embeddings: Vec<f64>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/tuning.json")).unwrap()
}

fn encoder() -> Arc<dyn Model> {
    directories::open(Path::new(ENCODER)).unwrap()
}

pub(super) fn options(freeze: Freeze) -> TrainOptions {
    TrainOptions {
        model_type: "text_classifier".into(),
        hidden_units: vec![],
        data_split: DataSplit::None,
        early_stop: false,
        epochs: Some(6),
        base_model: Some(BaseModel {
            model: "tiny@1".into(),
            sha256: "0123".into(),
        }),
        text: TextOptions {
            freeze,
            ..TextOptions::default()
        },
        ..TrainOptions::default()
    }
}

/// The texts and labels of the fixture, as often as `times`.
pub(super) fn rows(times: usize) -> (RecordBatch, Vec<u128>) {
    let Fixture { texts, labels, .. } = fixture();
    let count = times * texts.len();
    let texts: Vec<String> = (0..times).flat_map(|_| texts.clone()).collect();
    let labels: Vec<i64> = (0..times).flat_map(|_| labels.clone()).collect();
    let batch = batch_of(vec![
        ("body", Arc::new(StringArray::from_iter_values(texts)) as _),
        ("label", Arc::new(Int64Array::from_iter_values(labels))),
    ]);
    let hash = |row: u128| row.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (batch, (0..count as u128).map(hash).collect())
}

fn tuned(options: &TrainOptions, times: usize, workers: usize) -> Trained {
    let (batch, hashes) = rows(times);
    let mut spec = spec_of(&batch, options);
    spec.base = Some(encoder());
    train_spec(&spec, Duration::ZERO, &batch, &hashes, workers).unwrap()
}

fn embeddings() -> Vec<Vec<f64>> {
    let (model, texts) = (encoder(), fixture().texts);
    let texts: ArrayRef = Arc::new(StringArray::from(texts));
    let wanted = Wanted {
        outputs: vec![0],
        ..Wanted::default()
    };
    let inputs = model.encode(&batch_of(vec![("text", texts)])).unwrap();
    directories::embeddings(&model.run(inputs, &wanted).unwrap())
}

#[test]
fn tokens_are_those_of_the_library() {
    let Fixture { texts, ids, .. } = fixture();
    let model = encoder();
    let texts: ArrayRef = Arc::new(StringArray::from(texts));
    let inputs = model.encode(&batch_of(vec![("text", texts)])).unwrap();
    assert_eq!(model.text_base().unwrap().ids(&inputs).unwrap(), ids);
}

#[test]
fn losses_of_a_training_of_the_encoder_are_those_of_pytorch() {
    let Fixture {
        adamw,
        sgd,
        embeddings,
        ..
    } = fixture();
    let cases = [
        (Freeze::None, Optimizer::Adamw, 0.01, adamw),
        (Freeze::None, Optimizer::Sgd, 0.05, sgd),
        (Freeze::Embeddings, Optimizer::Adamw, 0.01, embeddings),
    ];
    for (freeze, optimizer, learn_rate, expected) in cases {
        let mut options = options(freeze);
        options.optimizer = Some(optimizer);
        options.learn_rate = learn_rate;
        options.batch_size = Some(64);
        options.text.pooling = Some(TextPooling::Mean);
        let trained = tuned(&options, 1, 2);
        assert_eq!(trained.history.len(), expected.len());
        for (record, expected) in trained.history.iter().zip(expected) {
            let error = (record.train_loss - expected).abs();
            assert!(
                error < 1e-4,
                "{freeze:?} {optimizer:?}, epoch {}: {}, expected {expected}",
                record.epoch,
                record.train_loss
            );
        }
    }
}

#[test]
fn the_number_of_workers_changes_no_weight() {
    for freeze in [Freeze::Encoder, Freeze::Embeddings, Freeze::None] {
        let mut options = options(freeze);
        options.epochs = Some(2);
        options.batch_size = Some(8);
        options.dropout = if freeze == Freeze::Encoder { 0.0 } else { 0.3 };
        options.warmup = 0.3;
        options.text.layer_decay = if freeze == Freeze::Encoder { 1.0 } else { 0.8 };
        let one = tuned(&options, 4, 1);
        for workers in [2, 3] {
            let many = tuned(&options, 4, workers);
            assert_eq!(one.weights, many.weights, "{freeze:?}, {workers} workers");
            assert_eq!(one.rows_hash, many.rows_hash);
        }
    }
}

#[test]
fn a_frozen_encoder_gives_the_vectors_of_embed() {
    let trained = tuned(&options(Freeze::Encoder), 1, 2);
    let vectors = embeddings();
    let learnt = &trained.config.encoders[0].numbers;
    assert_eq!(learnt.len(), vectors[0].len());
    for (place, number) in learnt.iter().enumerate() {
        let sum: f64 = vectors.iter().map(|vector| vector[place]).sum();
        let mean = sum / vectors.len() as f64;
        assert!((number.mean - mean).abs() < 1e-6, "{} {mean}", number.mean);
    }
}

#[test]
fn a_model_of_texts_predicts_what_it_was_trained_for() {
    for freeze in [Freeze::Encoder, Freeze::None] {
        let mut options = options(freeze);
        options.learn_rate = if freeze == Freeze::Encoder { 0.1 } else { 0.02 };
        options.epochs = Some(80);
        options.batch_size = Some(64);
        let trained = tuned(&options, 1, 1);
        assert!(trained.train_loss < trained.history[0].train_loss / 2.0);
        let model = trained.whole(model_type("text_classifier")).unwrap();
        let (batch, _) = rows(1);
        let wanted = Wanted {
            outputs: vec![0],
            ..Wanted::default()
        };
        // Rows in another order, and one at a time, have the same predictions.
        let predicted = |batch: &RecordBatch| {
            let inputs = model.encode(&batch.project(&[0]).unwrap()).unwrap();
            let outputs = model.run(inputs, &wanted).unwrap();
            Arc::clone(&outputs.columns[0])
        };
        let whole = predicted(&batch);
        for row in 0..batch.num_rows() {
            let one = predicted(&batch.slice(row, 1));
            assert_eq!(one.as_ref(), whole.slice(row, 1).as_ref());
        }
        let empty = predicted(&batch.slice(0, 0));
        assert_eq!(empty.len(), 0);
    }
}

#[test]
fn a_model_of_texts_holds_its_encoder_once() {
    let of_encoder = encoder().bytes();
    for freeze in [Freeze::Encoder, Freeze::Embeddings, Freeze::None] {
        let mut options = options(freeze);
        options.epochs = Some(1);
        let model = tuned(&options, 1, 1).whole(model_type("text_classifier"));
        let bytes = model.unwrap().bytes();
        // With the layer behind the encoder.
        assert!(
            (of_encoder / 2..of_encoder * 3 / 2).contains(&bytes),
            "{freeze:?}: {bytes}, the encoder {of_encoder}"
        );
    }
}

/// The network over the tokens of some texts, and the weights before the first step, with a head that is not zero.
fn network(options: &TrainOptions) -> (Box<dyn Network>, Vec<Vec<f32>>, Inputs) {
    let model = encoder();
    let base = model.text_base().unwrap();
    let ids = fixture().ids;
    let width = ids.iter().map(Vec::len).max().unwrap();
    let network = base.network(width, 3, options).unwrap();
    let mut weights = base.weights(network.as_ref(), 0).unwrap().into_iter();
    let mut draw = noise(7);
    let values = network.parameters().iter().map(|spec| {
        let values = weights.by_ref().take(spec.len());
        let values: Vec<f32> = values.map(|weight| weight as f32).collect();
        match values.iter().all(|value| *value == 0.0) {
            true => values.iter().map(|_| draw() as f32).collect(),
            false => values,
        }
    });
    let values = values.collect();
    let numbers: Vec<f32> = ids
        .iter()
        .take(4)
        .flat_map(|ids| padded_ids(ids, width).map(|id| id as f32))
        .collect();
    let numbers = Tensor::from_vec(numbers, (4, width), &Device::Cpu).unwrap();
    let inputs = Inputs::new(4).with("numbers", numbers).unwrap();
    (network, values, inputs)
}

#[test]
fn gradients_of_the_whole_encoder_are_those_of_finite_differences() {
    let mut options = options(Freeze::None);
    options.text.layer_decay = 0.5;
    let (network, values, inputs) = network(&options);
    let specs = network.parameters();
    let objective = |values: &[Vec<f32>]| {
        let pairs = values.iter().zip(specs);
        let variables: Vec<Var> = pairs
            .map(|(values, spec)| {
                Var::from_slice(values, spec.shape.as_slice(), &Device::Cpu).unwrap()
            })
            .collect();
        let tensors = variables
            .iter()
            .map(|variable| variable.as_tensor().clone());
        let tensors: Vec<Tensor> = tensors.collect();
        let outputs = network.forward(&tensors, &inputs, Mode::Inference).unwrap();
        let mut draw = noise(5);
        let factors: Vec<f32> = (0..12).map(|_| draw() as f32).collect();
        let factors = Tensor::from_vec(factors, (4, 3), &Device::Cpu).unwrap();
        let sum = (&outputs[0] * factors).unwrap().sum_all().unwrap();
        (sum, variables)
    };
    let (sum, variables) = objective(&values);
    let gradients = sum.backward().unwrap();
    let mut draw = noise(11);
    for (number, (variable, spec)) in variables.iter().zip(specs).enumerate() {
        let gradient = gradients.get(variable);
        let gradient = gradient.unwrap_or_else(|| panic!("{} has no gradient", spec.name));
        let gradient: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        let direction: Vec<f32> = gradient.iter().map(|_| draw() as f32).collect();
        let pairs = gradient.iter().zip(&direction);
        let expected: f64 = pairs.map(|(slope, of)| f64::from(slope * of)).sum();
        let at = |step: f32| {
            let mut moved = values.clone();
            let places = moved[number].iter_mut().zip(&direction);
            places.for_each(|(value, of)| *value += step * of);
            f64::from(objective(&moved).0.to_scalar::<f32>().unwrap())
        };
        let step = 3e-3;
        let found = (at(step) - at(-step)) / (2.0 * f64::from(step));
        assert!(
            (found - expected).abs() < 0.02 * (1.0 + expected.abs()),
            "{}: {expected}, differences give {found}",
            spec.name
        );
    }
    // The head learns at the full rate, each layer before it at half of that of the layer behind it.
    let rates = network.rates().unwrap();
    assert_eq!(rates.last(), Some(&1.0));
    let named = specs.iter().zip(&rates);
    for (spec, rate) in named {
        let expected = match &spec.name {
            name if name.contains("layer.0") => 0.25,
            name if name.contains("layer.1") => 0.5,
            name if name.contains("embeddings") => 0.125,
            _ => 1.0,
        };
        assert_eq!(*rate, expected, "{}", spec.name);
    }
}

#[test]
fn frozen_layers_are_no_parameters() {
    let names = |freeze: Freeze| -> Vec<String> {
        let (network, ..) = network(&options(freeze));
        let specs = network.parameters().iter();
        specs.map(|spec| spec.name.clone()).collect()
    };
    let all = names(Freeze::None);
    let some = names(Freeze::Embeddings);
    let left_out = all.iter().filter(|name| !some.contains(name));
    let left_out: Vec<&String> = left_out.collect();
    // Three tables, and the weight and the bias of a norm.
    assert_eq!(left_out.len(), 5, "{left_out:?}");
    assert!(left_out.iter().all(|name| name.contains("embeddings.")));
}
