//! Numeric tests: gradients against finite differences, results against other solvers, one result for all worker counts.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod agreement;
mod attention;
mod base;
mod batch_norm;
mod cancel;
mod compute_types;
mod convolutions;
mod determinism;
mod directories;
mod factorization;
mod flavours;
mod generation;
mod generation_files;
mod gradients;
mod images;
mod layers;
mod limits;
mod losses;
mod memory;
mod packed;
mod parity;
mod refit;
mod sequences;
mod splits;
mod target_losses;
mod targets;
mod text_exports;
mod text_files;
mod text_tasks;
mod texts;
mod tuning;
mod two_tower;
mod vision;
mod vision_files;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use vatic_ml::collective::{Collective, LocalCollective};
use vatic_ml::data::columns::{Column, Columns};
use vatic_ml::device::DeviceName;
use vatic_ml::model::network::ModelType;
use vatic_ml::model::options::TrainOptions;
use vatic_ml::model::trained::TrainedModel;
use vatic_ml::model::{Model, Outputs, Wanted};
use vatic_ml::models::MODEL_TYPES;
use vatic_ml::train::control::Control;
use vatic_ml::train::fit::{TrainSpec, Trained, fit};
use vatic_ml::train::raw::RankRows;
use vatic_ml::train::shard::{Placement, SHARDS_DEFAULT, owner};
use vatic_ml::{Result, worker};

fn model_type(name: &str) -> &'static dyn ModelType {
    *MODEL_TYPES
        .iter()
        .find(|model_type| model_type.name() == name)
        .unwrap()
}

/// Trains on `batch` with `workers` workers; the last column is the target. `hashes` holds the hash of each row.
fn train(
    batch: &RecordBatch,
    hashes: &[u128],
    options: &TrainOptions,
    workers: usize,
) -> Result<Trained> {
    train_after(Duration::ZERO, batch, hashes, options, workers)
}

/// Like [`train`], after time that the statement has taken before.
fn train_after(
    spent: Duration,
    batch: &RecordBatch,
    hashes: &[u128],
    options: &TrainOptions,
    workers: usize,
) -> Result<Trained> {
    train_spec(&spec_of(batch, options), spent, batch, hashes, workers)
}

/// Like [`train_after`], for any targets.
fn train_spec(
    spec: &TrainSpec,
    spent: Duration,
    batch: &RecordBatch,
    hashes: &[u128],
    workers: usize,
) -> Result<Trained> {
    let ranks = LocalCollective::group(workers);
    let results = ranks_of(ranks, spent, batch, hashes, spec);
    let mut first = None;
    for result in results {
        let trained = result?;
        let first = first.get_or_insert_with(|| trained.clone());
        assert_eq!(
            first.weights, trained.weights,
            "all ranks end with the same weights"
        );
    }
    Ok(first.unwrap())
}

/// A training on the columns of `batch`, the last of which is the target. Pixels of images are those of files in the query.
fn spec_of(batch: &RecordBatch, options: &TrainOptions) -> TrainSpec {
    spec_of_targets(batch, 1, options)
}

/// A training on the columns of `batch`, the last of which are so many targets.
fn spec_of_targets(batch: &RecordBatch, targets: usize, options: &TrainOptions) -> TrainSpec {
    let schema = batch.schema();
    let columns = schema.fields().iter();
    let mut columns: Vec<Column> = columns
        .map(|field| Column {
            name: field.name().clone(),
            data_type: match field.data_type() {
                DataType::FixedSizeBinary(_) => DataType::Binary,
                other => other.clone(),
            },
        })
        .collect();
    let targets = columns.split_off(columns.len() - targets);
    TrainSpec {
        columns: Columns {
            features: columns,
            targets,
        },
        options: options.clone(),
        shards: options.shards.unwrap_or(SHARDS_DEFAULT),
        base: None,
    }
}

/// What each rank of a group returns.
fn train_on<C: Collective + 'static>(
    ranks: Vec<C>,
    spent: Duration,
    batch: &RecordBatch,
    hashes: &[u128],
    options: &TrainOptions,
) -> Vec<Result<Trained>> {
    ranks_of(ranks, spent, batch, hashes, &spec_of(batch, options))
}

/// What each rank of a group returns that trains what `spec` says.
fn ranks_of<C: Collective + 'static>(
    ranks: Vec<C>,
    spent: Duration,
    batch: &RecordBatch,
    hashes: &[u128],
    spec: &TrainSpec,
) -> Vec<Result<Trained>> {
    let (workers, shards, seed) = (ranks.len(), spec.shards, spec.options.seed);
    let ranks: Vec<_> = ranks
        .into_iter()
        .enumerate()
        .map(|(rank, collective)| {
            let is_ours = |row: &usize| {
                let shard = Placement::new(hashes[*row], seed).shard(shards);
                owner(shard, shards, workers) == rank
            };
            let rows: Vec<usize> = (0..hashes.len()).filter(is_ours).collect();
            let indices =
                arrow::array::UInt64Array::from_iter_values(rows.iter().map(|&row| row as u64));
            let batch = arrow::compute::take_record_batch(batch, &indices).unwrap();
            let rows = RankRows {
                batches: vec![batch],
                hashes: vec![rows.iter().map(|&row| hashes[row]).collect()],
                ..RankRows::default()
            };
            let spec = spec.clone();
            let (sender, receiver) = std::sync::mpsc::channel();
            worker::spawn("rank", move || {
                let kind = model_type(&spec.options.model_type);
                let control = Control {
                    spent,
                    ..Control::default()
                };
                let result = worker::catch(|| fit(&spec, kind, rows, &collective, &control));
                drop(collective);
                sender.send(result).unwrap();
            })
            .unwrap();
            receiver
        })
        .collect();
    ranks.iter().map(|rank| rank.recv().unwrap()).collect()
}

/// The model, ready to predict on this machine.
fn model(trained: &Trained) -> TrainedModel {
    let device = DeviceName::Cpu.open().unwrap();
    let model_type = model_type(&trained.config.options.model_type);
    trained.model(model_type, &device).unwrap()
}

/// The outputs of the model: its labels, and the numbers or probabilities behind them.
fn predict(model: &TrainedModel, batch: &RecordBatch) -> Outputs {
    let wanted = Wanted {
        outputs: vec![0],
        scores: true,
        ..Wanted::default()
    };
    model.run(model.encode(batch).unwrap(), &wanted).unwrap()
}

fn batch_of(columns: Vec<(&str, Arc<dyn arrow::array::Array>)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Reproducible pseudo-random numbers.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0
    }
}
