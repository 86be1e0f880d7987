//! From the rows of a training query to encoded shards: everything learnt before the first step.
//!
//! ```text
//! batches, hashes ─▶ shards in hash order ─▶ counts ─ all-gather ─▶ sums ─ all-reduce ─▶ encoders, labels ─▶ tensors
//! ```
//! Statistics come from the training split only; the classes come from all rows.

use arrow::array::RecordBatch;
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::collective::Collective;
use crate::data::encode::standardise::Standardiser;
use crate::data::encode::tabular::Encoder;
use crate::data::inputs::Inputs;
use crate::data::labels::{Labels, Task, class_position, class_values, numbers};
use crate::data::rows::Rows;
use crate::model::network::ModelType;
use crate::model::options::{NullHandling, TrainOptions};
use crate::train::counts::{
    ShardCounts, check_counts, class_counts, gather_counts, merge_columns, notices,
};
use crate::train::raw::RankRows;
use crate::train::spec::TrainSpec;
use crate::train::split::split_into_shards;
use crate::train::statistics::{Numbers, standardise};
use crate::train::vocabularies::encoders;
use crate::{Error, Result};

/// The rows that one thread encodes at once.
const PART_ROWS: usize = 1 << 16;

/// One shard of this rank.
#[derive(Debug)]
pub struct Shard {
    /// The number of the shard among all shards.
    pub number: usize,
    /// The rows to learn from.
    pub train: Rows,
    /// The rows to evaluate with.
    pub eval: Rows,
}

/// Everything learnt before the first step.
#[derive(Debug)]
pub struct Prepared {
    /// How features become tensors.
    pub encoder: Encoder,
    /// The meaning of the outputs.
    pub labels: Labels,
    /// The shards of this rank.
    pub shards: Vec<Shard>,
    /// Training rows of every shard.
    pub train_rows_by_shard: Vec<u64>,
    /// The evaluation rows of all ranks.
    pub eval_rows: u64,
    /// Rows left out because of a NULL.
    pub skipped_rows: u64,
    /// Notices for the user about the rows.
    pub notices: Vec<String>,
    /// A hash of all rows as a multiset.
    pub rows_hash: u128,
}

impl Prepared {
    /// Training rows of all ranks.
    pub fn train_rows(&self) -> u64 {
        self.train_rows_by_shard.iter().sum()
    }
}

/// Learns encoders and labels with all ranks, and encodes the rows of this rank. `check` runs between the steps.
///
/// # Errors
/// [`Error::Null`] and [`Error::Invalid`] with counts for rows that cannot be trained on.
pub fn prepare(
    spec: &TrainSpec,
    model_type: &dyn ModelType,
    rows: RankRows,
    collective: &dyn Collective,
    helpers: &ThreadPool,
    check: &dyn Fn() -> Result<()>,
) -> Result<Prepared> {
    let (columns, options, shard_count) = (&spec.columns, &spec.options, spec.shards);
    let task = model_type.task();
    let raw = split_into_shards(spec, task, rows, collective, helpers)?;
    check()?;
    let counts = gather_counts(&raw, columns, task, collective, helpers)?;
    check_counts(&counts, columns, task, options)?;
    let merged = merge_columns(&counts, columns)?;
    let widths = merged
        .iter()
        .map(|column| column.width.unwrap_or(0))
        .collect::<Vec<_>>();
    let train_rows: u64 = counts.iter().map(|shard| shard.train_rows).sum();
    let of_columns = merged
        .iter()
        .zip(&widths)
        .flat_map(|(column, &width)| std::iter::repeat_n(column.valid, width));
    let value_counts: Vec<f64> = of_columns
        .chain([train_rows])
        .map(|count| count.max(1) as f64)
        .collect();
    check()?;
    let numbers = Numbers {
        columns,
        task,
        widths: &widths,
        helpers,
    };
    let standardisers = standardise(&raw, &numbers, &value_counts, collective)?;
    let (encoders, frequent) = encoders(columns, &merged, &standardisers, &widths);
    let labels = match task {
        Task::Regression => {
            let Standardiser { mean, std } = standardisers[widths.iter().sum::<usize>()];
            Labels::Number { mean, std }
        }
        Task::Classification => Labels::Classes {
            values: class_counts(&counts).into_keys().collect(),
        },
    };
    let weights = class_weights(&labels, &counts, options)?;
    let encoder = Encoder::new(encoders, model_type.precision());
    let frequent = (options.null_handling == NullHandling::Impute).then_some(frequent);
    let encode = |batch: &RecordBatch| {
        let encode_part = |part: &RecordBatch| {
            encode_rows(part, &encoder, frequent.as_deref(), &labels, &weights)
        };
        encode_parts(batch, helpers, &encode_part)
    };
    let shards = raw
        .iter()
        .map(|shard| {
            check()?;
            Ok(Shard {
                number: shard.number,
                train: encode(&shard.train)?,
                eval: encode(&shard.eval)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut train_rows_by_shard = vec![0; shard_count];
    counts
        .iter()
        .for_each(|shard| train_rows_by_shard[shard.number] = shard.train_rows);
    Ok(Prepared {
        encoder,
        labels,
        shards,
        train_rows_by_shard,
        eval_rows: counts.iter().map(|shard| shard.eval_rows).sum(),
        notices: notices(&counts, columns, task),
        skipped_rows: counts.iter().map(|shard| shard.skipped).sum(),
        rows_hash: counts.iter().fold(0, |sum: u128, shard| {
            sum.wrapping_add(join(shard.rows_hash))
        }),
    })
}

fn join((high, low): (u64, u64)) -> u128 {
    (u128::from(high) << 64) | u128::from(low)
}

fn class_weights(
    labels: &Labels,
    counts: &[ShardCounts],
    options: &TrainOptions,
) -> Result<Vec<f64>> {
    let Labels::Classes { values } = labels else {
        return Ok(vec![]);
    };
    let mut weights = vec![1.0; values.len()];
    if options.auto_class_weights {
        let classes = class_counts(counts);
        let rows = classes.values().map(|(train, _)| train).sum::<u64>() as f64;
        let trained = classes.values().filter(|(train, _)| *train > 0).count() as f64;
        for (weight, (train, _)) in weights
            .iter_mut()
            .zip(classes.values())
            .filter(|(_, (train, _))| *train > 0)
        {
            *weight = rows / (trained * *train as f64);
        }
    }
    for (name, weight) in &options.class_weights {
        let position = values
            .iter()
            .position(|value| value.to_string() == *name)
            .ok_or_else(|| {
                let known = values
                    .iter()
                    .take(20)
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", ");
                Error::Invalid(format!(
                    "class_weights names \"{name}\", which is not a label; the labels are {known}"
                ))
            })?;
        weights[position] = *weight;
    }
    Ok(weights)
}

/// Encodes a batch in parts of [`PART_ROWS`] rows.
fn encode_parts(
    batch: &RecordBatch,
    helpers: &ThreadPool,
    encode: &(dyn Fn(&RecordBatch) -> Result<Rows> + Sync),
) -> Result<Rows> {
    if batch.num_rows() <= PART_ROWS || helpers.current_num_threads() == 1 {
        return encode(batch);
    }
    let starts: Vec<usize> = (0..batch.num_rows()).step_by(PART_ROWS).collect();
    let part = |&start: &usize| {
        let rows = PART_ROWS.min(batch.num_rows() - start);
        encode(&batch.slice(start, rows))
    };
    let parts = helpers.install(|| starts.par_iter().map(part).collect::<Result<Vec<Rows>>>())?;
    let mut joined = Rows::default();
    let mut inputs = Vec::with_capacity(parts.len());
    for part in parts {
        joined.labels.extend(part.labels);
        joined.weights.extend(part.weights);
        inputs.push(part.inputs);
    }
    joined.inputs = Inputs::joined(&inputs)?;
    Ok(joined)
}

fn encode_rows(
    batch: &RecordBatch,
    encoder: &Encoder,
    frequent: Option<&[Vec<u32>]>,
    labels: &Labels,
    class_weights: &[f64],
) -> Result<Rows> {
    if batch.num_rows() == 0 {
        return Ok(Rows::default());
    }
    let inputs = encoder.encode(batch, frequent)?;
    if let Some((_, cause)) = inputs.report.failures.first() {
        return Err(Error::Invalid(cause.clone()));
    }
    let column = batch.column(encoder.columns().len());
    let (labels, weights) = match labels {
        Labels::Number { mean, std } => {
            let labels = numbers(column)?
                .values()
                .iter()
                .map(|label| (label - mean) / std)
                .collect::<Vec<_>>();
            let weights = vec![1.0; labels.len()];
            (labels, weights)
        }
        Labels::Classes { values } => {
            let positions = class_values(column)?
                .into_iter()
                .map(|value| value.and_then(|value| class_position(values, &value)));
            let positions = positions.collect::<Option<Vec<u32>>>();
            let positions =
                positions.ok_or_else(|| Error::Internal("a label without a class".into()))?;
            let weights = positions
                .iter()
                .map(|&position| class_weights[position as usize])
                .collect();
            (positions.into_iter().map(f64::from).collect(), weights)
        }
    };
    Ok(Rows {
        inputs,
        labels,
        weights,
    })
}
