//! Ranks that hold different weights end their training.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use vatic_ml::collective::{Collective, LocalCollective, ShardBuffers};
use vatic_ml::model::options::{DataSplit, TrainOptions};
use vatic_ml::{Error, Result};

use crate::{batch_of, noise, train_on};

const ROWS: usize = 200;
/// The rank whose sums or messages are wrong.
const WRONG: usize = 2;
/// Users and items of a factorization, each of which has a rating for each of the others, so that three ranks solve five each.
const IDS: i64 = 15;
const FACTORS: usize = 3;
/// The bytes of what a rank solves: the factors and the bias of five users or items, in f32.
const SOLVED_BYTES: usize = 5 * (FACTORS + 1) * 4;

/// What is wrong with the sums or messages.
#[derive(Clone, Copy)]
enum Fault {
    /// One bit of the gradient of the last parameter, which the loss and the weight of the rows follow.
    Bit,
    /// One bit of the slope of the first parameter of a linear model, which the other slopes, the loss and the weight of the
    /// rows follow.
    BitOfSlope,
    /// The first of two numbers, such as the residuals of a normal equation with one feature.
    Shift,
    /// One bit of a number that another rank has solved.
    BitOfSolved,
}

/// A collective with a fault on one rank.
struct Different {
    inner: LocalCollective,
    fault: Fault,
}

impl Collective for Different {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn world_size(&self) -> usize {
        self.inner.world_size()
    }

    fn rank_label(&self, rank: usize) -> String {
        format!("worker {rank} at 10.0.0.{}", rank + 1)
    }

    fn barrier(&self) -> Result<()> {
        self.inner.barrier()
    }

    fn all_gather(&self, message: Vec<u8>) -> Result<Vec<Arc<Vec<u8>>>> {
        let mut all = self.inner.all_gather(message)?;
        let is_wrong = self.rank() == WRONG && matches!(self.fault, Fault::BitOfSolved);
        if is_wrong && all[0].len() == SOLVED_BYTES {
            let mut solved = all[0].to_vec();
            solved[0] ^= 1;
            all[0] = Arc::new(solved);
        }
        Ok(all)
    }

    fn all_reduce_f32(&self, shards: ShardBuffers<f32>) -> Result<Vec<f32>> {
        let mut sum = self.inner.all_reduce_f32(shards)?;
        if self.rank() == WRONG && matches!(self.fault, Fault::Bit) {
            let last = sum.len() - 3;
            sum[last] = f32::from_bits(sum[last].to_bits() ^ (1 << 22));
        }
        Ok(sum)
    }

    fn all_reduce_f64(&self, shards: ShardBuffers<f64>) -> Result<Vec<f64>> {
        let mut sum = self.inner.all_reduce_f64(shards)?;
        if self.rank() == WRONG && matches!(self.fault, Fault::Shift) && sum.len() == 2 {
            sum[0] += 1.0;
        }
        if self.rank() == WRONG && matches!(self.fault, Fault::BitOfSlope) && sum.len() > 2 {
            sum[0] = f64::from_bits(sum[0].to_bits() ^ (1 << 36));
        }
        Ok(sum)
    }
}

fn rows(label: ArrayRef) -> (RecordBatch, Vec<u128>) {
    let mut draw = noise(3);
    let x: Vec<f64> = (0..ROWS).map(|_| draw()).collect();
    let batch = batch_of(vec![
        ("x", Arc::new(Float64Array::from(x))),
        ("label", label),
    ]);
    (batch, (0..ROWS as u128).collect())
}

fn errors(model_type: &str, label: ArrayRef, fault: Fault) -> Vec<Error> {
    let options = TrainOptions {
        model_type: model_type.into(),
        data_split: DataSplit::None,
        hidden_units: vec![4],
        epochs: Some(3),
        learn_rate: 0.1,
        seed: 7,
        ..TrainOptions::default()
    };
    errors_of(rows(label), &options, fault)
}

fn errors_of(
    (batch, hashes): (RecordBatch, Vec<u128>),
    options: &TrainOptions,
    fault: Fault,
) -> Vec<Error> {
    let ranks = LocalCollective::group(3).into_iter();
    let ranks = ranks.map(|inner| Different { inner, fault });
    let results = train_on(ranks.collect(), Duration::ZERO, &batch, &hashes, options);
    let errors = results.into_iter().map(|result| result.unwrap_err());
    errors.collect()
}

fn says(error: &Error, expected: &str) {
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn one_bit_ends_the_training_on_every_rank_with_both_machines() {
    let labels = (0..ROWS).map(|row| Some(["up", "down"][row % 2]));
    let labels: ArrayRef = Arc::new(labels.collect::<StringArray>());
    for error in errors("dnn_classifier", labels, Fault::Bit) {
        says(
            &error,
            "worker 0 at 10.0.0.1 and worker 2 at 10.0.0.3 hold different weights after epoch 1: their processors compute \
             differently; train on machines of one kind, or with workers = 1",
        );
    }
}

#[test]
fn a_solution_in_closed_form_is_compared_too() {
    let labels = (0..ROWS).map(|row| row as f64);
    let labels: ArrayRef = Arc::new(Float64Array::from_iter_values(labels));
    for error in errors("linear_reg", labels, Fault::Shift) {
        says(
            &error,
            "worker 0 at 10.0.0.1 and worker 2 at 10.0.0.3 hold different weights after optimizer normal_equation: their \
             processors compute differently; train on machines of one kind, or with workers = 1",
        );
    }
}

#[test]
fn a_solver_without_epochs_is_compared_at_its_end() {
    let labels = (0..ROWS).map(|row| Some(["up", "down"][row % 2]));
    let labels: ArrayRef = Arc::new(labels.collect::<StringArray>());
    for error in errors("logistic_reg", labels, Fault::BitOfSlope) {
        says(
            &error,
            "worker 0 at 10.0.0.1 and worker 2 at 10.0.0.3 hold different weights after optimizer lbfgs: their processors \
             compute differently; train on machines of one kind, or with workers = 1",
        );
    }
}

#[test]
fn vectors_of_users_and_items_are_compared_too() {
    let pairs = || (0..IDS).flat_map(|user| (0..IDS).map(move |item| (user, item)));
    let users = pairs().map(|(user, _)| user);
    let items = pairs().map(|(_, item)| item);
    let ratings = pairs().map(|(user, item)| ((user * item) % 7) as f64);
    let batch = batch_of(vec![
        ("user_id", Arc::new(Int64Array::from_iter_values(users))),
        ("item_id", Arc::new(Int64Array::from_iter_values(items))),
        ("label", Arc::new(Float64Array::from_iter_values(ratings))),
    ]);
    let hashes = (0..batch.num_rows() as u128).collect();
    let options = TrainOptions {
        model_type: "matrix_factorization".into(),
        num_factors: Some(FACTORS),
        l2_reg: Some(0.1),
        epochs: Some(3),
        early_stop: false,
        data_split: DataSplit::None,
        ..TrainOptions::default()
    };
    for error in errors_of((batch, hashes), &options, Fault::BitOfSolved) {
        says(
            &error,
            "worker 0 at 10.0.0.1 and worker 2 at 10.0.0.3 hold different weights after epoch 1: their processors compute \
             differently; train on machines of one kind, or with workers = 1",
        );
    }
}
