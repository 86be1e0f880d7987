//! Trainings that start from the weights of another model.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Float64Array, RecordBatch, StringArray};
use vatic_ml::model::Model;
use vatic_ml::model::options::{BaseModel, DataSplit, TrainOptions};
use vatic_ml::train::fit::Trained;

use crate::{batch_of, model, noise, predict, spec_of, train, train_spec};

/// Rows with a number, a colour and a class or a number.
fn rows(count: usize, colours: &[&str], has_classes: bool) -> (RecordBatch, Vec<u128>) {
    let mut draw = noise(3);
    let x: Vec<f64> = (0..count).map(|_| draw() * 10.0).collect();
    let colour: Vec<&str> = (0..count).map(|row| colours[row % colours.len()]).collect();
    let label = |row: usize| x[row] + (row % colours.len()) as f64;
    let labels: Arc<dyn arrow::array::Array> = match has_classes {
        true => {
            let classes = (0..count).map(|row| if label(row) > 1.0 { "up" } else { "down" });
            Arc::new(StringArray::from_iter_values(classes))
        }
        false => Arc::new(Float64Array::from_iter_values((0..count).map(label))),
    };
    let batch = batch_of(vec![
        ("x", Arc::new(Float64Array::from(x))),
        ("colour", Arc::new(StringArray::from(colour))),
        ("label", labels),
    ]);
    let hash = |row: u128| row.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (batch, (0..count as u128).map(hash).collect())
}

fn options(model_type: &str) -> TrainOptions {
    TrainOptions {
        model_type: model_type.into(),
        hidden_units: vec![8],
        epochs: Some(4),
        batch_size: Some(32),
        ..Default::default()
    }
}

/// Trains from the weights of `base`.
fn train_from(
    base: &Trained,
    (batch, hashes): &(RecordBatch, Vec<u128>),
    options: &TrainOptions,
    workers: usize,
) -> vatic_ml::Result<Trained> {
    let options = TrainOptions {
        base_model: Some(BaseModel {
            model: "m@1".into(),
            sha256: "0123".into(),
        }),
        ..options.clone()
    };
    let mut spec = spec_of(batch, &options);
    let base: Arc<dyn Model> = Arc::new(model(base));
    spec.base = Some(base);
    train_spec(&spec, Duration::ZERO, batch, hashes, workers)
}

/// Options of a training that leaves the weights as they are.
fn still(options: &TrainOptions) -> TrainOptions {
    TrainOptions {
        learn_rate: 1e-30,
        epochs: Some(1),
        ..options.clone()
    }
}

#[test]
fn a_training_begins_with_the_weights_and_the_encodings_of_its_base() {
    for model_type in ["dnn_classifier", "dnn_regressor"] {
        let known = rows(300, &["blue", "red"], model_type == "dnn_classifier");
        let options = options(model_type);
        let base = train(&known.0, &known.1, &options, 2).unwrap();
        // Other rows have other means, deviations and categories, which do not matter.
        let fewer = rows(90, &["red"], model_type == "dnn_classifier");
        let again = train_from(&base, &fewer, &still(&options), 2).unwrap();
        assert_eq!(again.weights, base.weights, "{model_type}");
        assert_eq!(again.config.encoders, base.config.encoders);
        assert_eq!(again.config.labels, base.config.labels);
        // And it goes on from there.
        let more = train_from(&base, &known, &options, 1).unwrap();
        assert!(more.train_loss < base.train_loss, "{model_type}");
        let first = |trained: &Trained| trained.history[0].train_loss;
        assert!(first(&more) < first(&base));
        for workers in [2, 3] {
            let other = train_from(&base, &known, &options, workers).unwrap();
            assert_eq!(other.weights, more.weights, "{workers} workers");
        }
    }
}

#[test]
fn a_value_that_the_base_does_not_know_gets_weights_of_its_own() {
    let known = rows(300, &["red", "blue"], false);
    let options = options("dnn_regressor");
    let base = train(&known.0, &known.1, &options, 1).unwrap();
    let wider = rows(300, &["red", "azure", "blue"], false);
    let still = train_from(&base, &wider, &still(&options), 1).unwrap();
    assert_eq!(still.weights.len(), base.weights.len() + 8);
    let values = &still.config.encoders[1].vocabularies[0].values;
    assert_eq!(values, &["blue", "red", "azure"]);
    // What the base knows is predicted as before.
    let scores = |trained: &Trained| predict(&model(trained), &known.0).scores;
    assert_eq!(scores(&still), scores(&base));
    let learnt = train_from(&base, &wider, &options, 3).unwrap();
    assert!(learnt.train_loss < still.train_loss);
}

#[test]
fn a_linear_model_reaches_the_same_solution_from_any_start() {
    let rows = rows(200, &["red", "blue"], false);
    let options = TrainOptions {
        model_type: "linear_reg".into(),
        data_split: DataSplit::None,
        ..Default::default()
    };
    let exact = train(&rows.0, &rows.1, &options, 1).unwrap();
    let again = train_from(&exact, &rows, &options, 2).unwrap();
    assert_eq!(again.optimizer.name(), "lbfgs");
    assert!(again.history.len() <= 2, "{}", again.history.len());
    let scores = |trained: &Trained| predict(&model(trained), &rows.0).scores;
    let pairs = scores(&again).into_iter().zip(scores(&exact));
    for (found, expected) in pairs {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}

#[test]
fn a_class_that_the_base_does_not_know_is_an_error() {
    let known = rows(200, &["red"], true);
    let options = options("dnn_classifier");
    let base = train(&known.0, &known.1, &options, 1).unwrap();
    let labels = (0..200).map(|row| ["up", "down", "gone", "left"][row % 4]);
    let other = batch_of(vec![
        ("x", Arc::clone(known.0.column(0))),
        ("colour", Arc::clone(known.0.column(1))),
        ("label", Arc::new(StringArray::from_iter_values(labels))),
    ]);
    let error = train_from(&base, &(other, known.1.clone()), &options, 1).unwrap_err();
    let error = error.to_string();
    let expected = "label \"label\" has values that base model \"m@1\" does not know: \"gone\", \"left\"; leave these rows out";
    assert!(error.starts_with(expected), "{error}");
    let wider = TrainOptions {
        hidden_units: vec![9],
        ..options
    };
    let error = train_from(&base, &known, &wider, 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("base model \"m@1\" has another network: weights \"layer0.weight\""),
        "{error}"
    );
}
