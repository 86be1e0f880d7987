//! Counts of NULLs, labels and category values in the rows of a training: per shard, then checked and merged.

use std::collections::BTreeMap;

use arrow::array::{Array, RecordBatch};
use rayon::ThreadPool;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::collective::Collective;
use crate::data::apart::parts;
use crate::data::columns::{Column, Columns, FeatureKind, NUMBERS_MAX};
use crate::data::labels::Task;
use crate::data::parts::{CategoryPart, Parts};
use crate::data::targets::TargetKind;
use crate::model::options::{LossName, NullHandling, TrainOptions};
use crate::train::label_counts::LabelCounts;
use crate::train::raw::RawShard;
use crate::{Error, Result};

/// What needs labels from 0, and the remedies.
const POISSON_NEEDS: &str =
    "loss = 'poisson' needs counts from 0: filter these rows out, or use another loss";
const IMPLICIT_NEEDS: &str = "implicit feedback needs strengths from 0: filter these rows out, or use feedback_type = 'explicit'";

/// More values than this in one category column are an error: each value would have its own weight.
pub(crate) const CATEGORY_VALUES_MAX: usize = 10_000;
/// More bytes than these in the distinct values of one category column are an error: all ranks exchange them, and the model
/// keeps them.
const CATEGORY_BYTES_MAX: usize = 16 << 20;

/// The counts of a shard, in a form that a rank can send.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ShardCounts {
    pub(crate) number: usize,
    pub(crate) train_rows: u64,
    pub(crate) eval_rows: u64,
    pub(crate) skipped: u64,
    pub(crate) rows_hash: (u64, u64),
    pub(crate) columns: Vec<ColumnCounts>,
    pub(crate) labels: Vec<LabelCounts>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ColumnCounts {
    pub(crate) nulls: u64,
    pub(crate) not_finite: u64,
    pub(crate) valid: u64,
    pub(crate) width: Option<usize>,
    pub(crate) categories: Vec<Values>,
}

/// The values of a category.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Values {
    /// Each value with the number of its rows.
    Counted(BTreeMap<String, u64>),
    /// More than [`CATEGORY_VALUES_MAX`] values, which nobody counts.
    TooMany,
    /// Values of more than [`CATEGORY_BYTES_MAX`] bytes together, which nobody counts.
    TooLong,
}

impl Default for Values {
    fn default() -> Self {
        Self::Counted(BTreeMap::new())
    }
}

impl Values {
    fn merge(&mut self, others: &Self) {
        match (&mut *self, others) {
            (Self::Counted(ours), Self::Counted(others)) => {
                for (value, count) in others {
                    *ours.entry(value.clone()).or_default() += count;
                }
            }
            // Whatever the order.
            (Self::TooMany, _) | (_, Self::TooMany) => *self = Self::TooMany,
            (Self::TooLong, _) | (_, Self::TooLong) => *self = Self::TooLong,
        }
        self.check();
    }

    /// Forgets the values if there is too much of them.
    fn check(&mut self) {
        let Self::Counted(counts) = self else {
            return;
        };
        let bytes: usize = counts.keys().map(String::len).sum();
        if counts.len() > CATEGORY_VALUES_MAX {
            *self = Self::TooMany;
        } else if bytes > CATEGORY_BYTES_MAX {
            *self = Self::TooLong;
        }
    }

    /// What there is too much of, if the values are not counted.
    fn excess(&self) -> Option<String> {
        match self {
            Self::Counted(_) => None,
            Self::TooMany => Some(format!(
                "over {CATEGORY_VALUES_MAX} distinct values, too many"
            )),
            Self::TooLong => Some(format!(
                "distinct values of over {} MiB together, too long",
                CATEGORY_BYTES_MAX >> 20
            )),
        }
    }
}

impl ColumnCounts {
    /// Adds the counts of other rows of the column with this name.
    fn merge(&mut self, others: &Self, name: &str) -> Result<()> {
        self.nulls += others.nulls;
        self.not_finite += others.not_finite;
        self.valid += others.valid;
        match (self.width, others.width) {
            (Some(ours), Some(others)) if ours != others => {
                return Err(Error::Invalid(format!(
                    "column \"{name}\" holds arrays of length {ours} and of length {others}; all arrays of a \
                     column have one length"
                )));
            }
            (None, width) => self.width = width,
            _ => {}
        }
        self.categories
            .resize(others.categories.len(), Values::default());
        let categories = self.categories.iter_mut().zip(&others.categories);
        categories.for_each(|(ours, others)| ours.merge(others));
        Ok(())
    }
}

/// The counts of all shards. Of features that `is_key`, only NULLs are counted.
pub(crate) fn gather_counts(
    raw: &[RawShard],
    (columns, is_key): (&Columns, &[bool]),
    kinds: &[TargetKind],
    collective: &dyn Collective,
    helpers: &ThreadPool,
) -> Result<Vec<ShardCounts>> {
    let ours = raw
        .iter()
        .map(|shard| count_shard(shard, (columns, is_key), kinds, helpers))
        .collect::<Result<Vec<_>>>()?;
    let message = serde_json::to_vec(&ours).map_err(unreadable)?;
    let mut all = Vec::new();
    for message in collective.all_gather(message)? {
        all.extend(serde_json::from_slice::<Vec<ShardCounts>>(&message).map_err(unreadable)?);
    }
    all.sort_by_key(|shard| shard.number);
    Ok(all)
}

pub(crate) fn unreadable(error: serde_json::Error) -> Error {
    Error::Internal(format!("message of a worker: {error}"))
}

fn count_shard(
    shard: &RawShard,
    (columns, is_key): (&Columns, &[bool]),
    kinds: &[TargetKind],
    helpers: &ThreadPool,
) -> Result<ShardCounts> {
    let count = |(index, column): (usize, &Column)| {
        let mut counts = ColumnCounts::default();
        let train = shard.train.parts.iter().map(|part| (part, true));
        let eval = shard.eval.parts.iter().map(|part| (part, false));
        for (part, is_train) in train.chain(eval) {
            let found = match is_key[index] {
                true => count_keys(part, index, is_train),
                false => count_column(part, index, column, is_train)?,
            };
            counts.merge(&found, &column.name)?;
        }
        Ok(counts)
    };
    let features = columns.features.par_iter().enumerate().map(count);
    let counted = helpers.install(|| features.collect::<Result<Vec<_>>>())?;
    Ok(ShardCounts {
        number: shard.number,
        train_rows: shard.train.rows() as u64,
        eval_rows: shard.eval.rows() as u64,
        skipped: shard.skipped,
        rows_hash: ((shard.rows_hash >> 64) as u64, shard.rows_hash as u64),
        columns: counted,
        labels: count_labels(shard, columns, kinds)?,
    })
}

/// The counts of a column of keys in some rows, which has neither numbers nor categories.
fn count_keys(rows: &RecordBatch, index: usize, is_train: bool) -> ColumnCounts {
    let nulls = rows.column(index).logical_null_count() as u64;
    ColumnCounts {
        nulls,
        valid: match is_train {
            true => rows.num_rows() as u64 - nulls,
            false => 0,
        },
        width: Some(0),
        ..ColumnCounts::default()
    }
}

/// The counts of one column in some rows. The values of categories count in training rows only.
fn count_column(
    rows: &RecordBatch,
    index: usize,
    column: &Column,
    is_train: bool,
) -> Result<ColumnCounts> {
    let parts = parts(&column.name, rows.column(index), None)?;
    let nulls = null_count(&parts);
    // The width of an array is known only from a row.
    let is_known = parts.width > 0 || !parts.categories.is_empty();
    let categories = parts.categories.iter();
    let categories = categories.map(|part| match is_train {
        true => count_values(part, &parts),
        false => Values::default(),
    });
    Ok(ColumnCounts {
        nulls,
        not_finite: not_finite(&parts, rows.num_rows()),
        valid: match is_train {
            true => rows.num_rows() as u64 - nulls,
            false => 0,
        },
        width: is_known.then_some(parts.width),
        categories: categories.collect(),
    })
}

fn null_count(parts: &Parts) -> u64 {
    parts
        .valid
        .as_ref()
        .map_or(0, |valid| valid.null_count() as u64)
}

fn not_finite(parts: &Parts, rows: usize) -> u64 {
    // Usually all numbers are finite, and the NULLs need no check.
    if parts.numbers.iter().all(|value| value.is_finite()) {
        return 0;
    }
    let is_bad = |row: usize| {
        let values = &parts.numbers[row * parts.width..][..parts.width];
        parts.is_valid(row) && values.iter().any(|value| !value.is_finite())
    };
    (0..rows)
        .filter(|&row| parts.width > 0 && is_bad(row))
        .count() as u64
}

fn count_values(part: &CategoryPart, parts: &Parts) -> Values {
    let mut counts = BTreeMap::new();
    match part {
        CategoryPart::Coded(codes, names, _) => {
            names.iter().for_each(|name| {
                counts.insert((*name).to_owned(), 0);
            });
            for row in (0..codes.len()).filter(|&row| parts.is_valid(row)) {
                *counts
                    .entry(names[codes[row] as usize].to_owned())
                    .or_default() += 1;
            }
        }
        CategoryPart::Text(values) => {
            let mut borrowed: std::collections::HashMap<&str, u64> =
                std::collections::HashMap::new();
            let mut bytes = 0;
            for row in (0..values.len()).filter(|&row| parts.is_valid(row)) {
                let value = values.value(row);
                let count = borrowed.entry(value).or_default();
                bytes += match *count {
                    0 => value.len(),
                    _ => 0,
                };
                *count += 1;
                if borrowed.len() > CATEGORY_VALUES_MAX {
                    return Values::TooMany;
                }
                if bytes > CATEGORY_BYTES_MAX {
                    return Values::TooLong;
                }
            }
            counts.extend(
                borrowed
                    .into_iter()
                    .map(|(value, count)| (value.to_owned(), count)),
            );
        }
    }
    Values::Counted(counts)
}

fn count_labels(
    shard: &RawShard,
    columns: &Columns,
    kinds: &[TargetKind],
) -> Result<Vec<LabelCounts>> {
    let targets = columns.targets.iter().zip(kinds).enumerate();
    let counts = targets.map(|(number, (target, kind))| {
        let index = columns.features.len() + number;
        let train = shard.train.parts.iter();
        let eval = shard.eval.parts.iter();
        let train = train.map(|part| (part.column(index), true));
        let labels = train.chain(eval.map(|part| (part.column(index), false)));
        LabelCounts::of(target, *kind, labels)
    });
    counts.collect()
}

/// The counts of each target in all shards.
///
/// # Errors
/// [`Error::Invalid`] for lists of several lengths.
pub(crate) fn merge_labels(counts: &[ShardCounts], columns: &Columns) -> Result<Vec<LabelCounts>> {
    let mut merged = vec![LabelCounts::default(); columns.targets.len()];
    for shard in counts {
        let of_targets = merged.iter_mut().zip(&shard.labels).zip(&columns.targets);
        for ((ours, others), target) in of_targets {
            ours.merge(others, target)?;
        }
    }
    Ok(merged)
}

pub(crate) fn check_counts(
    counts: &[ShardCounts],
    labels: &[LabelCounts],
    columns: &Columns,
    kinds: &[TargetKind],
    options: &TrainOptions,
) -> Result<()> {
    let sum = |count: &dyn Fn(&ShardCounts) -> u64| counts.iter().map(count).sum::<u64>();
    let (train_rows, eval_rows) = (
        sum(&|shard| shard.train_rows),
        sum(&|shard| shard.eval_rows),
    );
    let skipped = sum(&|shard| shard.skipped);
    if train_rows + eval_rows + skipped == 0 {
        return Err(Error::Invalid("the training query returned no rows".into()));
    }
    let by_column = |count: &dyn Fn(&ColumnCounts) -> u64,
                     of_label: &dyn Fn(&LabelCounts) -> u64| {
        let features = columns.features.iter().enumerate().map(|(index, column)| {
            (
                column.name.as_str(),
                counts
                    .iter()
                    .map(|shard| count(&shard.columns[index]))
                    .sum::<u64>(),
            )
        });
        let targets = columns.targets.iter().zip(labels);
        let targets = targets.map(|(target, counts)| (target.name.as_str(), of_label(counts)));
        let all = features.chain(targets).filter(|(_, count)| *count > 0);
        all.map(|(name, count)| format!("\"{name}\" {count}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let refuses_nulls = options.null_handling == NullHandling::Error;
    let of_feature = |column: &ColumnCounts| if refuses_nulls { column.nulls } else { 0 };
    let nulls = by_column(&of_feature, &|label| label.nulls);
    if !nulls.is_empty() {
        let remedy = if refuses_nulls {
            "set null_handling = 'skip' to leave these rows out, 'impute' to replace features"
        } else {
            "a label cannot be imputed; filter these rows out, or set null_handling = 'skip'"
        };
        return Err(Error::Null(format!(
            "NULLs in the training rows: {nulls}; {remedy}"
        )));
    }
    let not_finite = by_column(&|column| column.not_finite, &|label| label.not_finite);
    if !not_finite.is_empty() {
        return Err(Error::Invalid(format!(
            "NaN or infinity in the training rows: {not_finite}; filter these rows out, or replace the values"
        )));
    }
    if train_rows == 0 {
        return Err(Error::Invalid(format!(
            "no rows to train on: {eval_rows} went to evaluation and {skipped} were skipped for NULLs"
        )));
    }
    let needs = match (options.loss, options.implicit_alpha()) {
        (Some(LossName::Poisson), _) => Some(POISSON_NEEDS),
        (_, Some(_)) => Some(IMPLICIT_NEEDS),
        (_, None) => None,
    };
    let mut targets = labels.iter().zip(&columns.targets).zip(kinds);
    targets.try_for_each(|((counts, target), kind)| {
        let is_number = kind.task() == Task::Regression;
        counts.check(target, *kind, needs.filter(|_| is_number))
    })
}

/// Notices for the user about rows that can be trained on: classes that one side of the split lacks.
pub(crate) fn notices(
    counts: &[ShardCounts],
    labels: &[LabelCounts],
    columns: &Columns,
) -> Vec<String> {
    let eval_rows: u64 = counts.iter().map(|shard| shard.eval_rows).sum();
    let targets = labels.iter().zip(&columns.targets);
    match eval_rows {
        0 => vec![],
        _ => targets
            .flat_map(|(counts, target)| counts.notices(target))
            .collect(),
    }
}

/// The counts of each feature in all shards. With `hash_buckets`, a category may have any number of values.
pub(crate) fn merge_columns(
    counts: &[ShardCounts],
    columns: &Columns,
    hash_buckets: Option<u32>,
) -> Result<Vec<ColumnCounts>> {
    let mut merged: Vec<ColumnCounts> = vec![ColumnCounts::default(); columns.features.len()];
    for shard in counts {
        let of_columns = merged.iter_mut().zip(&shard.columns);
        for ((ours, others), column) in of_columns.zip(&columns.features) {
            ours.merge(others, &column.name)?;
        }
    }
    for (counts, column) in merged.iter().zip(&columns.features) {
        if hash_buckets.is_none()
            && let Some(excess) = counts.categories.iter().find_map(Values::excess)
        {
            return Err(Error::Invalid(format!(
                "column \"{}\" has {excess} for categories; leave it out, group its values, or set hash_buckets",
                column.name
            )));
        }
    }
    for (counts, column) in merged.iter().zip(&columns.features) {
        if counts.width.is_none()
            && FeatureKind::of(&column.name, &column.data_type)? == FeatureKind::Array
        {
            return Err(Error::Invalid(format!(
                "column \"{}\" holds no array with an element; leave it out",
                column.name
            )));
        }
    }
    let numbers: usize = merged.iter().filter_map(|counts| counts.width).sum();
    if numbers > NUMBERS_MAX {
        return Err(Error::Invalid(format!(
            "the features of a row have {numbers} numbers together, at most {NUMBERS_MAX} are possible; leave out columns, \
             or make their arrays shorter"
        )));
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};
    use arrow::datatypes::DataType;

    use super::*;

    fn id() -> Column {
        Column {
            name: "id".into(),
            data_type: DataType::Utf8,
        }
    }

    fn counts_of(texts: impl Iterator<Item = String>) -> ColumnCounts {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        let rows = RecordBatch::try_from_iter([("id", texts)]).unwrap();
        count_column(&rows, 0, &id(), true).unwrap()
    }

    /// The counts of a column that has these numbers as texts.
    fn counts(values: std::ops::Range<usize>) -> ColumnCounts {
        counts_of(values.map(|value| value.to_string()))
    }

    /// The counts of a column that has these numbers as texts of 1 MiB, each in two rows.
    fn long_counts(values: std::ops::Range<usize>) -> ColumnCounts {
        counts_of(values.flat_map(|value| {
            let text = format!("{value:04}{}", "x".repeat((1 << 20) - 4));
            [text.clone(), text]
        }))
    }

    fn has_too_many(counts: &ColumnCounts) -> bool {
        matches!(counts.categories[..], [Values::TooMany])
    }

    #[test]
    fn values_are_counted_up_to_the_limit_and_then_forgotten() {
        let most = counts(0..CATEGORY_VALUES_MAX);
        assert!(!has_too_many(&most));
        assert!(has_too_many(&counts(0..CATEGORY_VALUES_MAX + 1)));
        // Two shards that have too many together.
        let mut merged = most.clone();
        merged.merge(&counts(0..7), "id").unwrap();
        assert!(!has_too_many(&merged));
        merged
            .merge(&counts(5..CATEGORY_VALUES_MAX + 1), "id")
            .unwrap();
        assert!(has_too_many(&merged));
        merged.merge(&most, "id").unwrap();
        assert!(has_too_many(&merged));
        // What a worker sends does not grow with the values.
        assert!(serde_json::to_vec(&merged).unwrap().len() < 200);
    }

    #[test]
    fn long_values_are_counted_up_to_the_limit_of_their_bytes() {
        let most = CATEGORY_BYTES_MAX >> 20;
        let mut merged = long_counts(0..most);
        assert!(matches!(merged.categories[..], [Values::Counted(_)]));
        let more = long_counts(0..most + 1);
        assert!(matches!(more.categories[..], [Values::TooLong]));
        // Two shards that have too long values together.
        merged.merge(&long_counts(most..most + 1), "id").unwrap();
        assert!(matches!(merged.categories[..], [Values::TooLong]));
        // What a worker sends does not grow with the values.
        assert!(serde_json::to_vec(&merged).unwrap().len() < 200);
        // The order of the shards does not change the error.
        let many = counts(0..CATEGORY_VALUES_MAX + 1);
        for (mut one, other) in [(merged.clone(), &many), (many.clone(), &merged)] {
            one.merge(other, "id").unwrap();
            assert!(has_too_many(&one));
        }
    }

    #[test]
    fn too_long_values_are_an_error_that_names_the_column_and_hash_buckets() {
        let columns = Columns {
            features: vec![id()],
            targets: vec![],
        };
        let most = CATEGORY_BYTES_MAX >> 20;
        let shard = ShardCounts {
            number: 0,
            train_rows: 1,
            eval_rows: 0,
            skipped: 0,
            rows_hash: (0, 0),
            columns: vec![long_counts(0..most + 1)],
            labels: vec![],
        };
        let merged = merge_columns(std::slice::from_ref(&shard), &columns, None);
        let error = merged.unwrap_err().to_string();
        let expected = "column \"id\" has distinct values of over 16 MiB together, too long for categories; leave it out, \
                        group its values, or set hash_buckets";
        assert!(error.contains(expected), "{error}");
        assert!(merge_columns(&[shard], &columns, Some(8)).is_ok());
    }
}
