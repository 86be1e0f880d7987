//! From the rows of a training query to encoded shards: everything learnt before the first step.
//!
//! ```text
//! batches, hashes ─▶ shards in hash order ─▶ counts ─ all-gather ─▶ sums ─ all-reduce ─▶ encoders, labels ─▶ tensors
//! ```
//! Statistics come from the training split only; the classes come from all rows.

use arrow::array::{ArrayRef, RecordBatch};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::collective::Collective;
use crate::data::encode::standardise::Standardiser;
use crate::data::encode::tabular::Encoder;
use crate::data::inputs::InputsBuilder;
use crate::data::labels::{Labels, Task, class_position, class_values, numbers};
use crate::data::rows::Rows;
use crate::model::network::ModelType;
use crate::model::options::{LossName, NullHandling, TrainOptions};
use crate::train::control::{Control, ReservedMemory};
use crate::train::counts::{
    ShardCounts, check_counts, class_counts, gather_counts, merge_columns, notices,
};
use crate::train::images::image_encoders;
use crate::train::raw::{RankRows, RawRows};
use crate::train::spec::TrainSpec;
use crate::train::split::split_into_shards;
use crate::train::statistics::{Numbers, standardise};
use crate::train::vocabularies::encoders;
use crate::{Error, Result};

/// A label and a weight in f64.
const LABEL_BYTES: usize = 16;
/// A part that is counted or encoded has numbers in f64, which is up to twice its memory, and its encoded rows.
const PART_COPIES: usize = 3;

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
    /// Notices for the user about the rows and the options.
    pub notices: Vec<String>,
    /// A hash of all rows as a multiset.
    pub rows_hash: u128,
    /// The memory that is reserved for the shards.
    pub held: Option<ReservedMemory>,
}

impl Prepared {
    /// Training rows of all ranks.
    pub fn train_rows(&self) -> u64 {
        self.train_rows_by_shard.iter().sum()
    }
}

/// Learns encoders and labels with all ranks, and encodes the rows of this rank.
///
/// # Errors
/// [`Error::Null`] and [`Error::Invalid`] with counts for rows that cannot be trained on; [`Error::Memory`];
/// [`Error::Cancelled`].
pub fn prepare(
    spec: &TrainSpec,
    model_type: &dyn ModelType,
    rows: RankRows,
    collective: &dyn Collective,
    helpers: &ThreadPool,
    control: &Control,
) -> Result<Prepared> {
    let (columns, options, shard_count) = (&spec.columns, &spec.options, spec.shards);
    let task = model_type.task(options);
    let (raw, raw_held) = split_into_shards(spec, task, rows, collective, helpers, control)?;
    let sides = raw.iter().flat_map(|shard| [&shard.train, &shard.eval]);
    let at_once = sides.map(|rows| rows.bytes_of(helpers.current_num_threads()));
    let parts_held = control.reserve(
        at_once.max().unwrap_or(0) * PART_COPIES,
        "the rows that are being encoded",
    )?;
    control.stop.check()?;
    let counts = gather_counts(&raw, columns, task, collective, helpers)?;
    check_counts(&counts, columns, task, options)?;
    let merged = merge_columns(&counts, columns, options.hash_buckets)?;
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
    control.stop.check()?;
    let numbers = Numbers {
        columns,
        task,
        widths: &widths,
        counts: &counts,
        helpers,
    };
    let standardisers = standardise(&raw, &numbers, &value_counts, collective)?;
    let images = image_encoders(&raw, spec, collective, helpers)?;
    let (mut encoders, frequent) = encoders(
        columns,
        &merged,
        &standardisers,
        &widths,
        options.hash_buckets,
    );
    let of_images = encoders.iter_mut().zip(images);
    of_images.for_each(|(encoder, image)| encoder.image = image);
    let labels = match task {
        Task::Regression => {
            let Standardiser { mean, std } = standardisers[widths.iter().sum::<usize>()];
            match options.loss == Some(LossName::Poisson) {
                true => Labels::Count {
                    mean: if mean > 0.0 { mean } else { 1.0 },
                },
                false => Labels::Number { mean, std },
            }
        }
        Task::Classification => Labels::Classes {
            values: class_counts(&counts).into_keys().collect(),
        },
    };
    let weights = class_weights(&labels, &counts, options)?;
    let encoder = Encoder::new(encoders, model_type.precision())
        .with_ids(|column| model_type.ids(options, column));
    let frequent = (options.null_handling == NullHandling::Impute).then_some(frequent);
    let encode =
        |part: &RecordBatch| encode_part(part, &encoder, frequent.as_deref(), &labels, &weights);
    let sides = raw.iter().flat_map(|shard| [&shard.train, &shard.eval]);
    let rows: usize = sides.map(RawRows::rows).sum();
    let held = control.reserve(encoder.bytes(rows) + rows * LABEL_BYTES, "the encoded rows")?;
    let mut shards = Vec::with_capacity(raw.len());
    for shard in raw {
        control.stop.check()?;
        shards.push(Shard {
            number: shard.number,
            train: encode_rows(shard.train, helpers, &encode)?,
            eval: encode_rows(shard.eval, helpers, &encode)?,
        });
    }
    drop((raw_held, parts_held));
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
        notices: [notices(&counts, columns, task), model_type.notices(options)].concat(),
        skipped_rows: counts.iter().map(|shard| shard.skipped).sum(),
        rows_hash: counts.iter().fold(0, |sum: u128, shard| {
            sum.wrapping_add(join(shard.rows_hash))
        }),
        held,
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

/// Encodes rows, as many parts at once as there are threads. A part is dropped once it is encoded.
fn encode_rows(
    rows: RawRows,
    helpers: &ThreadPool,
    encode: &(dyn Fn(&RecordBatch) -> Result<Rows> + Sync),
) -> Result<Rows> {
    if let [only] = &rows.parts[..] {
        return encode(only);
    }
    let mut encoded = Rows::default();
    let mut inputs = InputsBuilder::new(rows.rows());
    let mut parts = rows.parts.into_iter();
    loop {
        let group: Vec<RecordBatch> = parts.by_ref().take(helpers.current_num_threads()).collect();
        if group.is_empty() {
            break;
        }
        let group = helpers.install(|| group.par_iter().map(encode).collect::<Result<Vec<_>>>())?;
        for part in group {
            encoded.labels.extend(part.labels);
            encoded.weights.extend(part.weights);
            inputs.add(&part.inputs)?;
        }
    }
    encoded.inputs = inputs.finish()?;
    Ok(encoded)
}

fn encode_part(
    batch: &RecordBatch,
    encoder: &Encoder,
    frequent: Option<&[Vec<Option<u32>>]>,
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
        Labels::Number { mean, std } => number_labels(column, |label| (label - mean) / std)?,
        Labels::Count { .. } => number_labels(column, |label| label)?,
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

/// The labels of a regressor, and their weights.
fn number_labels(column: &ArrayRef, of: impl Fn(f64) -> f64) -> Result<(Vec<f64>, Vec<f64>)> {
    let numbers = numbers(column)?;
    let labels: Vec<f64> = numbers.values().iter().map(|&label| of(label)).collect();
    let weights = vec![1.0; labels.len()];
    Ok((labels, weights))
}
