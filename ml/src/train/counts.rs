//! Counts of NULLs, classes and category values in the rows of a training: per shard, then checked and merged.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, RecordBatch};
use rayon::ThreadPool;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::collective::Collective;
use crate::data::apart::parts;
use crate::data::columns::{Column, Columns, FeatureKind, NUMBERS_MAX};
use crate::data::labels::{CLASSES_MAX, ClassValue, Task, class_values, numbers};
use crate::data::parts::{CategoryPart, Parts};
use crate::model::options::{LossName, NullHandling, TrainOptions};
use crate::train::raw::RawShard;
use crate::{Error, Result};

/// More values than this in one category column are an error: each value would have its own weight.
pub(crate) const CATEGORY_VALUES_MAX: usize = 10_000;

/// The counts of a shard, in a form that a rank can send.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ShardCounts {
    pub(crate) number: usize,
    pub(crate) train_rows: u64,
    pub(crate) eval_rows: u64,
    pub(crate) skipped: u64,
    pub(crate) rows_hash: (u64, u64),
    pub(crate) columns: Vec<ColumnCounts>,
    pub(crate) classes: Vec<(ClassValue, (u64, u64))>,
    pub(crate) label_nulls: u64,
    pub(crate) label_not_finite: u64,
    pub(crate) label_below_zero: u64,
    /// The lowest label of a regressor, or 0 if it is higher.
    pub(crate) label_lowest: f64,
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
}

impl Default for Values {
    fn default() -> Self {
        Self::Counted(BTreeMap::new())
    }
}

impl Values {
    fn merge(&mut self, others: &Self) {
        let (Self::Counted(ours), Self::Counted(others)) = (&mut *self, others) else {
            *self = Self::TooMany;
            return;
        };
        for (value, count) in others {
            *ours.entry(value.clone()).or_default() += count;
        }
        if ours.len() > CATEGORY_VALUES_MAX {
            *self = Self::TooMany;
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
                    "column \"{name}\" holds arrays of length {ours} and of length {others}; a feature array has one \
                     length"
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

pub(crate) fn gather_counts(
    raw: &[RawShard],
    columns: &Columns,
    task: Task,
    collective: &dyn Collective,
    helpers: &ThreadPool,
) -> Result<Vec<ShardCounts>> {
    let ours = raw
        .iter()
        .map(|shard| count_shard(shard, columns, task, helpers))
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
    columns: &Columns,
    task: Task,
    helpers: &ThreadPool,
) -> Result<ShardCounts> {
    let count = |(index, column): (usize, &Column)| {
        let mut counts = ColumnCounts::default();
        for part in &shard.train.parts {
            counts.merge(&count_column(part, index, column, true)?, &column.name)?;
        }
        for part in &shard.eval.parts {
            counts.merge(&count_column(part, index, column, false)?, &column.name)?;
        }
        Ok(counts)
    };
    let features = columns.features.par_iter().enumerate().map(count);
    let counted = helpers.install(|| features.collect::<Result<Vec<_>>>())?;
    let mut counts = ShardCounts {
        number: shard.number,
        train_rows: shard.train.rows() as u64,
        eval_rows: shard.eval.rows() as u64,
        skipped: shard.skipped,
        rows_hash: ((shard.rows_hash >> 64) as u64, shard.rows_hash as u64),
        columns: counted,
        classes: vec![],
        label_nulls: 0,
        label_not_finite: 0,
        label_below_zero: 0,
        label_lowest: 0.0,
    };
    count_labels(shard, columns, task, &mut counts)?;
    Ok(counts)
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
            for row in (0..values.len()).filter(|&row| parts.is_valid(row)) {
                *borrowed.entry(values.value(row)).or_default() += 1;
                if borrowed.len() > CATEGORY_VALUES_MAX {
                    return Values::TooMany;
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
    task: Task,
    counts: &mut ShardCounts,
) -> Result<()> {
    let index = columns.features.len();
    let mut classes: BTreeMap<ClassValue, (u64, u64)> = BTreeMap::new();
    let train = shard.train.parts.iter().map(|part| (part, true));
    let eval = shard.eval.parts.iter().map(|part| (part, false));
    for (part, is_train) in train.chain(eval) {
        let labels: &ArrayRef = part.column(index);
        counts.label_nulls += labels.logical_null_count() as u64;
        if task == Task::Regression {
            for label in numbers(labels)?.iter().flatten() {
                if !label.is_finite() {
                    counts.label_not_finite += 1;
                } else if label < 0.0 {
                    counts.label_below_zero += 1;
                    counts.label_lowest = counts.label_lowest.min(label);
                }
            }
            continue;
        }
        for value in class_values(labels)?.into_iter().flatten() {
            // The label is refused, so its other values need not be counted and sent.
            if classes.len() > CLASSES_MAX {
                break;
            }
            let (train, eval) = classes.entry(value).or_default();
            *if is_train { train } else { eval } += 1;
        }
    }
    counts.classes = classes.into_iter().collect();
    Ok(())
}

pub(crate) fn class_counts(counts: &[ShardCounts]) -> BTreeMap<ClassValue, (u64, u64)> {
    let mut classes: BTreeMap<ClassValue, (u64, u64)> = BTreeMap::new();
    for (value, (train, eval)) in counts.iter().flat_map(|shard| shard.classes.clone()) {
        let sum = classes.entry(value).or_default();
        sum.0 += train;
        sum.1 += eval;
    }
    classes
}

pub(crate) fn check_counts(
    counts: &[ShardCounts],
    columns: &Columns,
    task: Task,
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
    let by_column = |label: u64, count: &dyn Fn(&ColumnCounts) -> u64| {
        let features = columns.features.iter().enumerate().map(|(index, column)| {
            (
                column.name.as_str(),
                counts
                    .iter()
                    .map(|shard| count(&shard.columns[index]))
                    .sum::<u64>(),
            )
        });
        let all = features
            .chain([(columns.target.name.as_str(), label)])
            .filter(|(_, count)| *count > 0);
        all.map(|(name, count)| format!("\"{name}\" {count}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let label_nulls = sum(&|shard| shard.label_nulls);
    let refuses_nulls = options.null_handling == NullHandling::Error;
    let nulls = by_column(label_nulls, &|column| {
        if refuses_nulls { column.nulls } else { 0 }
    });
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
    let not_finite = by_column(sum(&|shard| shard.label_not_finite), &|column| {
        column.not_finite
    });
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
    match task {
        Task::Classification => check_classes(counts, columns),
        Task::Regression if options.loss == Some(LossName::Poisson) => {
            check_not_below_zero(counts, columns)
        }
        Task::Regression => Ok(()),
    }
}

fn check_not_below_zero(counts: &[ShardCounts], columns: &Columns) -> Result<()> {
    let rows: u64 = counts.iter().map(|shard| shard.label_below_zero).sum();
    if rows == 0 {
        return Ok(());
    }
    let lowest = counts.iter().map(|shard| shard.label_lowest);
    let lowest = lowest.fold(0.0, f64::min);
    let name = &columns.target.name;
    Err(Error::Invalid(format!(
        "label \"{name}\" is below 0 in {rows} rows, down to {lowest}; loss = 'poisson' needs counts from 0: filter these \
         rows out, or use another loss"
    )))
}

fn check_classes(counts: &[ShardCounts], columns: &Columns) -> Result<()> {
    let classes = class_counts(counts);
    let name = &columns.target.name;
    if classes.len() > CLASSES_MAX {
        return Err(Error::Invalid(format!(
            "label \"{name}\" has over {CLASSES_MAX} distinct values, too many for a classifier; use a regressor, or \
             group the labels"
        )));
    }
    let trained: Vec<_> = classes
        .iter()
        .filter(|(_, (train, _))| *train > 0)
        .collect();
    if trained.len() < 2 {
        let found: Vec<String> = classes
            .iter()
            .map(|(value, (train, eval))| {
                format!("{value} ({train} training rows, {eval} evaluation rows)")
            })
            .collect();
        return Err(Error::Invalid(format!(
            "label \"{name}\" needs two different values in the training rows; found {}",
            found.join(", ")
        )));
    }
    Ok(())
}

/// Notices for the user about rows that can be trained on: classes that one side of the split lacks.
pub(crate) fn notices(counts: &[ShardCounts], columns: &Columns, task: Task) -> Vec<String> {
    let eval_rows: u64 = counts.iter().map(|shard| shard.eval_rows).sum();
    if task != Task::Classification || eval_rows == 0 {
        return vec![];
    }
    let classes = class_counts(counts);
    let name = &columns.target.name;
    let list = |lacks: &dyn Fn(&(u64, u64)) -> bool| {
        let lacking = classes.iter().filter(|(_, counts)| lacks(counts));
        let lacking: Vec<String> = lacking
            .map(|(value, (train, eval))| format!("{value} ({} rows)", train + eval))
            .collect();
        match lacking.len() {
            0..=NAMED_MAX => lacking.join(", "),
            count => format!(
                "{} and {} more",
                lacking[..NAMED_MAX].join(", "),
                count - NAMED_MAX
            ),
        }
    };
    let mut notices = vec![];
    let unseen = list(&|(_, eval)| *eval == 0);
    if !unseen.is_empty() {
        notices.push(format!(
            "no evaluation row has these values of \"{name}\", so the metrics say nothing about them: {unseen}"
        ));
    }
    let untrained = list(&|(train, _)| *train == 0);
    if !untrained.is_empty() {
        notices.push(format!(
            "no training row has these values of \"{name}\", so they are never predicted: {untrained}"
        ));
    }
    notices
}

/// The most classes that a notice names.
const NAMED_MAX: usize = 5;

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
        let has_too_many = |values: &Values| matches!(values, Values::TooMany);
        if hash_buckets.is_none() && counts.categories.iter().any(has_too_many) {
            return Err(Error::Invalid(format!(
                "column \"{}\" has over {CATEGORY_VALUES_MAX} distinct values, too many for categories; leave it out, \
                 group its values, or set hash_buckets",
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
