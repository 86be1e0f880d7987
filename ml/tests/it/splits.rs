//! Evaluation rows and placement of copies: exact shares of each class and each kind of row, whatever the number of
//! workers.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array};
use vatic_ml::model::options::{DataSplit, TrainOptions};
use vatic_ml::train::fit::Trained;
use vatic_ml::train::shard::content_hashes;

use crate::{batch_of, noise, train};

fn options(model_type: &str, seed: u64, eval_fraction: f64) -> TrainOptions {
    TrainOptions {
        model_type: model_type.into(),
        data_split: DataSplit::Hash { eval_fraction },
        hidden_units: vec![8],
        epochs: Some(2),
        seed,
        ..TrainOptions::default()
    }
}

fn trained(batch: &RecordBatch, options: &TrainOptions, workers: usize) -> Trained {
    let columns: Vec<&ArrayRef> = batch.columns().iter().collect();
    let hashes = content_hashes(&columns).unwrap();
    train(batch, &hashes, options, workers).unwrap()
}

/// Rows of few kinds, each with several copies.
fn few_kinds(copies: &[usize]) -> RecordBatch {
    let kinds = copies.iter().enumerate();
    let rows: Vec<usize> = kinds
        .flat_map(|(kind, &copies)| std::iter::repeat_n(kind, copies))
        .collect();
    let x = Int64Array::from_iter_values(rows.iter().map(|kind| (kind / 2) as i64));
    let label = StringArray::from_iter_values(rows.iter().map(|kind| ["no", "yes"][kind % 2]));
    batch_of(vec![("x", Arc::new(x)), ("label", Arc::new(label))])
}

#[test]
fn the_share_of_each_class_is_exact() {
    let mut draw = noise(2);
    for seed in 0..40 {
        let classes = 2 + seed as usize % 3;
        let sizes: Vec<usize> = (0..classes)
            .map(|_| 5 + (draw().abs() * 300.0) as usize)
            .collect();
        let labels = sizes.iter().enumerate();
        let labels = labels.flat_map(|(class, &size)| std::iter::repeat_n(class as i64, size));
        let labels = Int64Array::from_iter_values(labels);
        let rows = sizes.iter().sum::<usize>();
        let x = Float64Array::from_iter_values((0..rows).map(|_| (draw() * 20.0).round()));
        let batch = batch_of(vec![("x", Arc::new(x)), ("label", Arc::new(labels))]);
        let trained = trained(&batch, &options("logistic_reg", seed, 0.2), 3);
        let expected: u64 = sizes
            .iter()
            .map(|size| (*size as f64 * 0.2).round() as u64)
            .sum();
        assert_eq!(trained.eval_rows, expected, "{sizes:?}");
        assert_eq!(trained.train_rows + trained.eval_rows, rows as u64);
    }
}

/// At least one row of each class trains, whatever the evaluation share.
#[test]
fn a_class_of_one_row_trains() {
    for eval_fraction in [0.5, 0.9, 0.99] {
        let batch = few_kinds(&[40, 1]);
        let trained = trained(&batch, &options("logistic_reg", 0, eval_fraction), 3);
        assert!(trained.notices[0].contains("no evaluation row"));
        assert!(trained.train_rows >= 2 && trained.eval_rows > 0);
    }
}

#[test]
fn xor_is_evaluated_on_all_four_kinds() {
    for seed in 0..4 {
        let rows = 0..4_000i64;
        let a = Int64Array::from_iter_values(rows.clone().map(|row| row % 2));
        let b = Int64Array::from_iter_values(rows.clone().map(|row| row / 2 % 2));
        let label = Int64Array::from_iter_values(rows.map(|row| (row % 2) ^ (row / 2 % 2)));
        let batch = batch_of(vec![
            ("a", Arc::new(a)),
            ("b", Arc::new(b)),
            ("label", Arc::new(label)),
        ]);
        let options = TrainOptions {
            epochs: Some(30),
            learn_rate: 0.05,
            ..options("dnn_classifier", seed, 0.2)
        };
        let trained = trained(&batch, &options, 2);
        assert_eq!((trained.train_rows, trained.eval_rows), (3_200, 800));
        let accuracy = trained.metrics[0].value;
        assert_eq!(accuracy, Some(1.0), "seed {seed}");
    }
}

#[test]
fn copies_of_rows_give_the_same_weights_for_any_number_of_workers_and_any_order() {
    let mut draw = noise(4);
    for case in 0..12u64 {
        let copies: Vec<usize> = (0..6)
            .map(|kind| match (case + kind) % 3 {
                0 => 1 + (draw().abs() * 4.0) as usize,
                1 => 0,
                _ => 5 + (draw().abs() * 200.0) as usize,
            })
            .chain([3, 4])
            .collect();
        let batch = few_kinds(&copies);
        for model_type in ["logistic_reg", "dnn_classifier"] {
            let options = options(model_type, case, 0.3);
            let alone = trained(&batch, &options, 1);
            let rows = batch.num_rows() as u32;
            let turned: UInt32Array = (0..rows).rev().map(Some).collect();
            let turned = arrow::compute::take_record_batch(&batch, &turned).unwrap();
            for (batch, workers) in [(&batch, 2), (&turned, 3), (&turned, 8)] {
                let together = trained(batch, &options, workers);
                assert_eq!(
                    together.weights, alone.weights,
                    "{copies:?}, {workers} workers"
                );
                assert_eq!(
                    together.metrics, alone.metrics,
                    "{copies:?}, {workers} workers"
                );
                assert_eq!(together.eval_rows, alone.eval_rows);
                assert_eq!(together.rows_hash, alone.rows_hash);
            }
        }
    }
}

#[test]
fn a_class_without_evaluation_rows_is_told() {
    let batch = few_kinds(&[100, 100, 0, 2]);
    let labels: Vec<&str> = (0..202).map(|row| ["a", "b", "rare"][row / 100]).collect();
    let label: ArrayRef = Arc::new(StringArray::from(labels));
    let batch = batch_of(vec![("x", Arc::clone(batch.column(0))), ("label", label)]);
    let found = trained(&batch, &options("logistic_reg", 0, 0.2), 2).notices;
    let of_rows: Vec<_> = found.iter().filter(|text| text.contains("row")).collect();
    assert_eq!(of_rows.len(), 1, "{found:?}");
    assert!(of_rows[0].contains("rare (2 rows)"), "{found:?}");
}
