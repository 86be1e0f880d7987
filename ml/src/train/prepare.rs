//! From the rows of a training query to encoded shards: what is learnt before the first step.
//!
//! ```text
//! batches, hashes ─▶ shards in hash order ─▶ counts ─ all-gather ─▶ sums ─ all-reduce ─▶ encoders, labels ─▶ tensors
//! ```
//! Statistics come from the training split only; the classes come from all rows.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use crate::collective::{Collective, ShardBuffers};
use crate::data::encode::tabular::{ColumnEncoder, Encoder, Standardiser, Vocabulary};
use crate::data::labels::{Labels, class_values, numbers};
use crate::data::parts::{CategoryPart, parts};
use crate::data::rows::Rows;
use crate::data::signature::{FeatureKind, Signature};
use crate::model::{ModelType, Task};
use crate::train::counts::{
    ColumnCounts, ShardCounts, check_counts, class_counts, gather_counts, merge_columns, notices,
};
use crate::train::options::{NullHandling, TrainOptions};
use crate::train::split::split_into_shards;
use crate::{Error, Result};

/// The rows that one rank was given: its shards, in any order.
#[derive(Debug, Default)]
pub struct RankRows {
    /// Features in the order of the signature, then the label, then the split column if there is one.
    pub batches: Vec<RecordBatch>,
    /// For each batch a content hash of each row.
    pub hashes: Vec<Vec<u128>>,
}

/// One shard of this rank.
#[derive(Debug)]
pub struct Shard {
    /// Its number among all shards.
    pub number: usize,
    /// The rows to learn from.
    pub train: Rows,
    /// The rows to evaluate with.
    pub eval: Rows,
}

/// All that is known before the first step.
#[derive(Debug)]
pub struct Prepared {
    /// How features become tensors.
    pub encoder: Encoder,
    /// What outputs mean.
    pub labels: Labels,
    /// The shards of this rank.
    pub shards: Vec<Shard>,
    /// Training rows of every shard.
    pub train_rows_by_shard: Vec<u64>,
    /// Rows to evaluate with, of all ranks.
    pub eval_rows: u64,
    /// Rows left out because of a NULL.
    pub skipped_rows: u64,
    /// What the user should know of the rows.
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

/// A shard before encoding.
pub(crate) struct RawShard {
    pub(crate) number: usize,
    pub(crate) train: RecordBatch,
    pub(crate) eval: RecordBatch,
    pub(crate) skipped: u64,
    pub(crate) rows_hash: u128,
}

/// Learns encoders and labels with all ranks, and encodes the rows of this one. `check` is asked between the steps.
///
/// # Errors
/// [`Error::Null`] and [`Error::Invalid`] with counts for rows that cannot be trained on.
pub fn prepare(
    signature: &Signature,
    model_type: &dyn ModelType,
    options: &TrainOptions,
    shard_count: usize,
    rows: RankRows,
    collective: &dyn Collective,
    check: &dyn Fn() -> Result<()>,
) -> Result<Prepared> {
    let task = model_type.task();
    let raw = split_into_shards(signature, task, options, shard_count, rows, collective)?;
    check()?;
    let counts = gather_counts(&raw, signature, task, collective)?;
    check_counts(&counts, signature, task, options)?;
    let merged = merge_columns(&counts, signature)?;
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
    let standardisers = standardise(&raw, signature, task, &value_counts, &widths, collective)?;
    let (encoders, frequent) = encoders(signature, &merged, &standardisers, &widths);
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
    let encode =
        |batch: &RecordBatch| encode_rows(batch, &encoder, frequent.as_deref(), &labels, &weights);
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
        notices: notices(&counts, signature, task),
        skipped_rows: counts.iter().map(|shard| shard.skipped).sum(),
        rows_hash: counts.iter().fold(0, |sum: u128, shard| {
            sum.wrapping_add(join(shard.rows_hash))
        }),
    })
}

fn join((high, low): (u64, u64)) -> u128 {
    (u128::from(high) << 64) | u128::from(low)
}

/// Mean and standard deviation of each number of each column, and of the label of a regressor last.
fn standardise(
    raw: &[RawShard],
    signature: &Signature,
    task: Task,
    counts: &[f64],
    widths: &[usize],
    collective: &dyn Collective,
) -> Result<Vec<Standardiser>> {
    let sums = sum_shards(raw, signature, task, widths, |_, value| value, collective)?;
    let mut means: Vec<f64> = sums
        .iter()
        .zip(counts)
        .map(|(sum, count)| sum / count)
        .collect();
    // A plain sum of many rows is off by enough to make a constant column vary; what is left over corrects it.
    let rest = |index: usize, value: f64| value - means[index];
    let rests = sum_shards(raw, signature, task, widths, rest, collective)?;
    means
        .iter_mut()
        .zip(rests.iter().zip(counts))
        .for_each(|(mean, (rest, count))| *mean += rest / count);
    let square = |index: usize, value: f64| (value - means[index]).powi(2);
    let squares = sum_shards(raw, signature, task, widths, square, collective)?;
    let mut variances: Vec<f64> = squares
        .iter()
        .zip(counts)
        .map(|(sum, count)| sum / count)
        .collect();
    pool_arrays(&mut variances, signature, widths)?;
    let mut standardisers = Vec::with_capacity(means.len());
    for (index, &mean) in means.iter().enumerate() {
        let std = variances[index].sqrt();
        if !std.is_finite() {
            return Err(Error::Invalid(format!(
                "the values of column \"{}\" are too large to standardise; scale them in the query",
                column_of(index, signature, widths)
            )));
        }
        // Rounding can leave a constant column a deviation of a few ulps, which would blow noise up to 1.
        let varies = std > mean.abs() * 1e-12;
        standardisers.push(Standardiser {
            mean,
            std: if varies { std } else { 1.0 },
        });
    }
    Ok(standardisers)
}

/// Gives all elements of an array their mean variance. An array is one tensor: on its own an element that hardly ever
/// varies, such as a pixel in a corner, would be blown up where it does.
fn pool_arrays(variances: &mut [f64], signature: &Signature, widths: &[usize]) -> Result<()> {
    let mut first = 0;
    for (column, &width) in signature.features.iter().zip(widths) {
        if FeatureKind::of(&column.name, &column.data_type)? == FeatureKind::Array {
            let elements = &mut variances[first..first + width];
            let mean = elements.iter().sum::<f64>() / width as f64;
            elements.fill(mean);
        }
        first += width;
    }
    Ok(())
}

fn column_of<'a>(mut number: usize, signature: &'a Signature, widths: &[usize]) -> &'a str {
    for (column, &width) in signature.features.iter().zip(widths) {
        if number < width {
            return &column.name;
        }
        number -= width;
    }
    &signature.target.name
}

/// Sums `of(number, value)` over the training rows: the numbers of all columns, then the label of a regressor.
fn sum_shards(
    raw: &[RawShard],
    signature: &Signature,
    task: Task,
    widths: &[usize],
    of: impl Fn(usize, f64) -> f64,
    collective: &dyn Collective,
) -> Result<Vec<f64>> {
    let label = widths.iter().sum::<usize>();
    let mut buffers: ShardBuffers<f64> = Vec::with_capacity(raw.len());
    for shard in raw {
        let mut sums = vec![0.0; label + 1];
        let mut first = 0;
        for (index, (column, &width)) in signature.features.iter().zip(widths).enumerate() {
            let parts = parts(&column.name, shard.train.column(index), None)?;
            let rows = if parts.width == width {
                shard.train.num_rows()
            } else {
                0
            };
            let sums = &mut sums[first..first + width];
            // A bitmap without a NULL is none: whether there is one depends on which shards share a worker.
            let nulls = parts.valid.as_ref().filter(|valid| valid.null_count() > 0);
            match (sums.len(), nulls) {
                (0, _) => {}
                (1, None) => sums[0] = lane_sum(&parts.numbers, |value| of(first, value)),
                _ => {
                    for row in (0..rows).filter(|&row| parts.is_valid(row)) {
                        let values = &parts.numbers[row * width..][..width];
                        for (position, (sum, &value)) in sums.iter_mut().zip(values).enumerate() {
                            *sum += of(first + position, value);
                        }
                    }
                }
            }
            first += width;
        }
        if task == Task::Regression {
            let labels = numbers(shard.train.column(signature.features.len()))?;
            sums[label] = lane_sum(labels.values(), |value| of(label, value));
        }
        buffers.push((shard.number, sums));
    }
    collective.all_reduce_f64(buffers)
}

/// A sum in a fixed order that does not wait for one addition before the next.
fn lane_sum(values: &[f64], of: impl Fn(f64) -> f64) -> f64 {
    let (lanes, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for lane in lanes {
        sums.iter_mut()
            .zip(lane)
            .for_each(|(sum, &value)| *sum += of(value));
    }
    let rest: f64 = rest.iter().map(|&value| of(value)).sum();
    sums.iter().sum::<f64>() + rest
}

fn encoders(
    signature: &Signature,
    merged: &[ColumnCounts],
    standardisers: &[Standardiser],
    widths: &[usize],
) -> (Vec<ColumnEncoder>, Vec<Vec<u32>>) {
    let mut numbers = standardisers.iter().copied();
    let mut frequent = Vec::with_capacity(merged.len());
    let mut encoders = Vec::with_capacity(merged.len());
    for ((column, counts), &width) in signature.features.iter().zip(merged).zip(widths) {
        let numbers = numbers.by_ref().take(width).collect();
        let values = counts.categories.iter().enumerate();
        let vocabularies: Vec<_> = values
            .map(|(position, values)| vocabulary(column, position, values))
            .collect();
        let with_counts = vocabularies.iter().zip(&counts.categories);
        frequent.push(
            with_counts
                .map(|(vocabulary, counts)| most_frequent(vocabulary, counts))
                .collect(),
        );
        encoders.push(ColumnEncoder {
            column: column.clone(),
            numbers,
            vocabularies,
        });
    }
    (encoders, frequent)
}

fn vocabulary(
    column: &crate::data::signature::Column,
    position: usize,
    counts: &BTreeMap<String, u64>,
) -> Vocabulary {
    let empty = arrow::array::new_empty_array(&column.data_type);
    let known = parts(&column.name, &empty, None).ok().and_then(|parts| {
        match parts.categories.into_iter().nth(position) {
            // A fixed vocabulary keeps its own order: January is before October.
            Some(CategoryPart::Coded(_, names, part)) => Some((part, names)),
            _ => None,
        }
    });
    match known {
        Some((part, names)) => {
            let seen = names
                .iter()
                .filter(|name| counts.get(**name).is_some_and(|count| *count > 0));
            Vocabulary {
                part: part.into(),
                values: seen.map(|name| (*name).into()).collect(),
            }
        }
        None => Vocabulary {
            part: String::new(),
            values: counts.keys().cloned().collect(),
        },
    }
}

/// The position of the most frequent value, the first of equals.
fn most_frequent(vocabulary: &Vocabulary, counts: &BTreeMap<String, u64>) -> u32 {
    let count = |value: &String| counts.get(value).copied().unwrap_or(0);
    let positions = vocabulary.values.iter().enumerate();
    let best =
        positions.max_by_key(|(position, value)| (count(value), std::cmp::Reverse(*position)));
    best.map_or(0, |(position, _)| position as u32)
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
    let mut features = encoder.encode(batch, frequent)?;
    if let Some((_, cause)) = features.failures.first() {
        return Err(Error::Invalid(cause.clone()));
    }
    features.valid = None;
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
        Labels::Classes { .. } => {
            let positions = class_values(column)?
                .into_iter()
                .map(|value| value.and_then(|v| labels.position(&v)));
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
        features,
        labels,
        weights,
    })
}
