//! Limits of a training: its time, its iterations, its categories, the rows that one array holds.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, FixedSizeListArray, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::Float64Type;
use vatic_ml::model::options::{DataSplit, Optimizer, TrainOptions};

use crate::{train, train_after};

const ROWS: usize = 400;

fn batch(feature: ArrayRef) -> RecordBatch {
    let labels = (0..ROWS as i64).map(|row| i64::from(row % 7 > 2));
    let label: ArrayRef = Arc::new(Int64Array::from_iter_values(labels));
    RecordBatch::try_from_iter([("x", feature), ("label", label)]).unwrap()
}

fn numbers() -> RecordBatch {
    let values = (0..ROWS).map(|row| (row % 7) as f64 + (row % 5) as f64 / 8.0);
    batch(Arc::new(Float64Array::from_iter_values(values)))
}

fn hashes(rows: usize) -> Vec<u128> {
    (0..rows as u128).collect()
}

fn options(model_type: &str) -> TrainOptions {
    TrainOptions {
        model_type: model_type.into(),
        data_split: DataSplit::None,
        epochs: Some(20),
        early_stop: false,
        ..TrainOptions::default()
    }
}

#[test]
fn time_before_the_attempt_counts_towards_the_limit_on_every_number_of_workers() {
    for model_type in ["dnn_classifier", "logistic_reg"] {
        let limited = TrainOptions {
            max_runtime_s: Some(60.0),
            ..options(model_type)
        };
        for workers in [1, 3] {
            let spent = Duration::from_secs(61);
            let late = train_after(spent, &numbers(), &hashes(ROWS), &limited, workers).unwrap();
            assert_eq!(late.history.len(), 1, "{model_type}");
            let notice = "max_runtime_s = 60 ended the training after epoch 1";
            assert!(
                late.notices.iter().any(|text| text == notice),
                "{:?}",
                late.notices
            );
        }
        let early = train(&numbers(), &hashes(ROWS), &limited, 1).unwrap();
        assert!(early.history.len() > 1);
        assert!(
            !early
                .notices
                .iter()
                .any(|text| text.contains("max_runtime_s"))
        );
    }
}

#[test]
fn lbfgs_says_when_it_has_not_converged() {
    let notices = |epochs| {
        let options = TrainOptions {
            epochs: Some(epochs),
            optimizer: Some(Optimizer::Lbfgs),
            l2_reg: Some(0.1),
            ..options("logistic_reg")
        };
        train(&numbers(), &hashes(ROWS), &options, 2)
            .unwrap()
            .notices
    };
    assert!(notices(2)[0].contains("not converged after 2 iterations"));
    assert_eq!(notices(200), [""; 0]);
}

#[test]
fn a_column_of_identifiers_is_refused_and_named() {
    let rows = 12_000;
    let ids = (0..rows).map(|row| format!("id {row}"));
    let feature: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
    let label: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|row| row % 2)));
    let batch = RecordBatch::try_from_iter([("user_id", feature), ("label", label)]).unwrap();
    for workers in [1, 2] {
        let error = train(
            &batch,
            &hashes(rows as usize),
            &options("logistic_reg"),
            workers,
        );
        let message = error.unwrap_err().to_string();
        let expected = "column \"user_id\" has over 10000 distinct values";
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("hash_buckets"), "{message}");
    }
}

/// The rows of a shard lie in several arrays. A line through all of them fits only if each feature stays with its label.
#[test]
fn a_shard_of_several_arrays_is_trained_whole() {
    // An array has up to 65,536 rows.
    let rows = 150_000;
    let number = |row: usize| ((row * 7_919) % 1_001) as f64;
    let letter = |row: usize| match row {
        77_777 => "rare",
        row if row % 3 == 0 => "a",
        _ => "b",
    };
    let label = |row: usize| {
        let of_letter = match letter(row) {
            "rare" => 5_000.0,
            "a" => -3.0,
            _ => 4.0,
        };
        2.0 * number(row) - 7.0 * number(row + 1) + of_letter
    };
    let numbers = Float64Array::from_iter_values((0..rows).map(number));
    let lists = (0..rows).map(|row| Some([Some(number(row + 1))]));
    let lists = FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(lists, 1);
    let letters = StringArray::from_iter_values((0..rows).map(letter));
    let labels = Float64Array::from_iter_values((0..rows).map(label));
    let columns: [(&str, ArrayRef); 4] = [
        ("number", Arc::new(numbers)),
        ("list", Arc::new(lists)),
        ("letter", Arc::new(letters)),
        ("label", Arc::new(labels)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let options = TrainOptions {
        shards: Some(1),
        ..options("linear_reg")
    };
    let trained = train(&batch, &hashes(rows), &options, 1).unwrap();
    assert_eq!(trained.train_rows, rows as u64);
    assert!(trained.train_loss < 1e-6, "{}", trained.train_loss);
}
