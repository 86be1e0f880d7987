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
use crate::data::columns::Columns;
use crate::data::encode::keys::Keys;
use crate::data::encode::tabular::Encoder;
use crate::data::inputs::InputsBuilder;
use crate::data::labels::Labels;
use crate::data::rows::Rows;
use crate::data::targets::TargetKind;
use crate::model::network::ModelType;
use crate::model::options::NullHandling;
use crate::train::base::Base;
use crate::train::control::{Control, ReservedMemory};
use crate::train::counts::{
    ShardCounts, check_counts, gather_counts, merge_columns, merge_labels, notices,
};
use crate::train::images::image_encoders;
use crate::train::keys::gather_keys;
use crate::train::losses::check_weights;
use crate::train::raw::{RankRows, RawRows};
use crate::train::spec::TrainSpec;
use crate::train::split::split_into_shards;
use crate::train::statistics::{Numbers, standardise};
use crate::train::targets::{Targets, widths as target_widths};
use crate::train::texts::{Numbered, numbered};
use crate::train::vocabularies::{Learnt, encoders};
use crate::{Error, Result};

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
    /// Features and targets, with numbers in place of texts that an encoder reads.
    pub columns: Columns,
    /// How features become tensors.
    pub encoder: Encoder,
    /// The position of the most frequent value of each category of each feature, if NULLs are imputed.
    pub imputed: Option<Vec<Vec<Option<u32>>>>,
    /// The meaning of the outputs for each target.
    pub labels: Vec<Labels>,
    /// The shards of this rank.
    pub shards: Vec<Shard>,
    /// Training rows of every shard.
    pub train_rows_by_shard: Vec<u64>,
    /// Evaluation rows of every shard.
    pub eval_rows_by_shard: Vec<u64>,
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

    /// Evaluation rows of all ranks.
    pub fn eval_rows(&self) -> u64 {
        self.eval_rows_by_shard.iter().sum()
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
    let kinds = kinds(spec, model_type)?;
    let base = Base::of(spec)?;
    let (raw, raw_held) = split_into_shards(spec, &kinds, rows, collective, helpers, control)?;
    let Numbered {
        spec,
        raw,
        held: texts_held,
    } = numbered(spec, raw, collective, helpers, control)?;
    let spec = spec.as_ref();
    let (columns, options, shard_count) = (&spec.columns, &spec.options, spec.shards);
    let sides = raw.iter().flat_map(|shard| [&shard.train, &shard.eval]);
    let at_once = sides.map(|rows| rows.bytes_of(helpers.current_num_threads()));
    let parts_held = control.reserve(
        at_once.max().unwrap_or(0) * PART_COPIES,
        "the rows that are being encoded",
    )?;
    control.stop.check()?;
    let features = columns.features.iter();
    let is_key: Vec<bool> = features.map(|of| model_type.is_key(options, of)).collect();
    let counts = gather_counts(&raw, (columns, &is_key), &kinds, collective, helpers)?;
    let of_labels = merge_labels(&counts, columns)?;
    check_counts(&counts, &of_labels, columns, &kinds, options)?;
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
    let target_widths = target_widths(&kinds, &of_labels);
    let of_targets = std::iter::repeat_n(train_rows, target_widths.iter().sum());
    let value_counts: Vec<f64> = of_columns
        .chain(of_targets)
        .map(|count| count.max(1) as f64)
        .collect();
    control.stop.check()?;
    let numbers = Numbers {
        columns,
        kinds: &kinds,
        widths: &widths,
        target_widths: &target_widths,
        counts: &counts,
        helpers,
    };
    let standardisers = standardise(&raw, &numbers, &value_counts, collective)?;
    let images = image_encoders(&raw, spec, collective, helpers)?;
    let keys = gather_keys(&raw, columns, &is_key, base, collective, helpers)?;
    let keys_bytes: usize = keys.iter().flatten().map(Keys::bytes).sum();
    // The keys of the encoder, and while it is made those of the ranks.
    let keys_held = control.reserve(3 * keys_bytes, "the ids of users and items")?;
    let learnt = Learnt {
        keys: &keys,
        merged: &merged,
        standardisers: &standardisers,
        widths: &widths,
        hash_buckets: options.hash_buckets,
        base,
    };
    let (mut encoders, frequent) = encoders(columns, &learnt)?;
    let of_images = encoders.iter_mut().zip(images).enumerate();
    of_images.for_each(|(index, (encoder, image))| {
        encoder.image = base.map_or(image, |base| base.image(index));
    });
    let of_targets = &standardisers[widths.iter().sum::<usize>()..];
    let with_base = (options, base);
    let targets = Targets::learn(columns, &kinds, &of_labels, of_targets, with_base)?;
    let encoder = Encoder::new(encoders, model_type.precision())
        .with_ids(|column| model_type.ids(options, column));
    let frequent = (options.null_handling == NullHandling::Impute).then_some(frequent);
    let encode = |part: &RecordBatch| encode_part(part, &encoder, frequent.as_deref(), &targets);
    let sides = raw.iter().flat_map(|shard| [&shard.train, &shard.eval]);
    let rows: usize = sides.map(RawRows::rows).sum();
    let labels_bytes = rows * targets.numbers() * size_of::<f64>();
    let held = control.reserve(encoder.bytes(rows) + labels_bytes, "the encoded rows")?;
    let mut shards = Vec::with_capacity(raw.len());
    for shard in raw {
        control.stop.check()?;
        shards.push(Shard {
            number: shard.number,
            train: encode_rows(shard.train, helpers, &encode)?,
            eval: encode_rows(shard.eval, helpers, &encode)?,
        });
    }
    drop((raw_held, parts_held, texts_held));
    let by_shard = |rows: &dyn Fn(&ShardCounts) -> u64| {
        let mut all = vec![0; shard_count];
        counts
            .iter()
            .for_each(|shard| all[shard.number] = rows(shard));
        all
    };
    Ok(Prepared {
        columns: columns.clone(),
        encoder,
        imputed: frequent,
        labels: targets.labels(),
        shards,
        train_rows_by_shard: by_shard(&|shard| shard.train_rows),
        eval_rows_by_shard: by_shard(&|shard| shard.eval_rows),
        notices: [
            notices(&counts, &of_labels, columns),
            model_type.notices(options),
        ]
        .concat(),
        skipped_rows: counts.iter().map(|shard| shard.skipped).sum(),
        rows_hash: counts.iter().fold(0, |sum: u128, shard| {
            sum.wrapping_add(join(shard.rows_hash))
        }),
        held: Some(ReservedMemory(Box::new((held, keys_held)))),
    })
}

/// The kinds of the targets.
fn kinds(spec: &TrainSpec, model_type: &dyn ModelType) -> Result<Vec<TargetKind>> {
    let (targets, options) = (&spec.columns.targets, &spec.options);
    let kinds = model_type.predictor(options).kinds(targets)?;
    check_weights(targets, &kinds, options)?;
    Ok(kinds)
}

fn join((high, low): (u64, u64)) -> u128 {
    (u128::from(high) << 64) | u128::from(low)
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
    let total = rows.rows();
    let mut inputs = InputsBuilder::new(total);
    let mut parts = rows.parts.into_iter();
    loop {
        let group: Vec<RecordBatch> = parts.by_ref().take(helpers.current_num_threads()).collect();
        if group.is_empty() {
            break;
        }
        let group = helpers.install(|| group.par_iter().map(encode).collect::<Result<Vec<_>>>())?;
        for part in group {
            if encoded.labels.is_empty() {
                // A vector that grows by itself would take up to twice the memory.
                let numbers = part.labels.len() / part.len().max(1);
                encoded.labels.reserve_exact(numbers * total);
            }
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
    targets: &Targets,
) -> Result<Rows> {
    if batch.num_rows() == 0 {
        return Ok(Rows::default());
    }
    let inputs = encoder.encode(batch, frequent)?;
    if let Some((_, cause)) = inputs.report.failures.first() {
        return Err(Error::Invalid(cause.clone()));
    }
    let (labels, weights) = targets.encode(batch, encoder.columns().len())?;
    Ok(Rows {
        inputs,
        labels,
        weights,
    })
}
