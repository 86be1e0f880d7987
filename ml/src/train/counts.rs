//! Counts of NULLs, classes and category values in the rows of a training: per shard, then checked and merged.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use rayon::ThreadPool;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::collective::Collective;
use crate::data::apart::parts;
use crate::data::columns::{Column, Columns, FeatureKind};
use crate::data::labels::Task;
use crate::data::labels::{ClassValue, class_values, numbers};
use crate::data::parts::{CategoryPart, Parts};
use crate::model::options::{NullHandling, TrainOptions};
use crate::train::raw::RawShard;
use crate::{Error, Result};

/// More values than this in one category column are an error: each value would have its own weight.
pub(crate) const CATEGORY_VALUES_MAX: usize = 10_000;
/// More classes than this are an error.
pub(crate) const CLASSES_MAX: usize = 1_000;

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
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ColumnCounts {
    pub(crate) nulls: u64,
    pub(crate) not_finite: u64,
    pub(crate) valid: u64,
    pub(crate) width: Option<usize>,
    pub(crate) categories: Vec<BTreeMap<String, u64>>,
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
    let count = |(index, column): (usize, &Column)| -> Result<ColumnCounts> {
        let eval = parts(&column.name, shard.eval.column(index), None)?;
        let train = parts(&column.name, shard.train.column(index), None)?;
        let mut counts = ColumnCounts {
            nulls: null_count(&train) + null_count(&eval),
            not_finite: not_finite(&train, shard.train.num_rows())
                + not_finite(&eval, shard.eval.num_rows()),
            valid: shard.train.num_rows() as u64 - null_count(&train),
            width: None,
            categories: vec![],
        };
        if train.categories.is_empty() {
            // The width of an array is known only from a row; in a shard without rows the width is unknown.
            counts.width = [&train, &eval]
                .iter()
                .map(|parts| parts.width)
                .find(|width| *width > 0);
        } else {
            counts.width = Some(train.width);
        }
        counts.categories = train
            .categories
            .iter()
            .map(|part| count_values(part, &train))
            .collect();
        Ok(counts)
    };
    let features = columns.features.par_iter().enumerate().map(count);
    let counted = helpers.install(|| features.collect::<Result<Vec<_>>>())?;
    let mut counts = ShardCounts {
        number: shard.number,
        train_rows: shard.train.num_rows() as u64,
        eval_rows: shard.eval.num_rows() as u64,
        skipped: shard.skipped,
        rows_hash: ((shard.rows_hash >> 64) as u64, shard.rows_hash as u64),
        columns: counted,
        classes: vec![],
        label_nulls: 0,
        label_not_finite: 0,
    };
    count_labels(shard, columns, task, &mut counts)?;
    Ok(counts)
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

fn count_values(part: &CategoryPart, parts: &Parts) -> BTreeMap<String, u64> {
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
                // The column is refused, so its other values need not be counted and sent.
                if borrowed.len() > CATEGORY_VALUES_MAX {
                    break;
                }
            }
            counts.extend(
                borrowed
                    .into_iter()
                    .map(|(value, count)| (value.to_owned(), count)),
            );
        }
    }
    counts
}

fn count_labels(
    shard: &RawShard,
    columns: &Columns,
    task: Task,
    counts: &mut ShardCounts,
) -> Result<()> {
    let index = columns.features.len();
    let mut classes: BTreeMap<ClassValue, (u64, u64)> = BTreeMap::new();
    for (batch, is_train) in [(&shard.train, true), (&shard.eval, false)] {
        let labels: &ArrayRef = batch.column(index);
        counts.label_nulls += labels.logical_null_count() as u64;
        if task == Task::Regression {
            counts.label_not_finite += numbers(labels)?
                .iter()
                .flatten()
                .filter(|label| !label.is_finite())
                .count() as u64;
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
    if task == Task::Classification {
        check_classes(counts, columns)
    } else {
        Ok(())
    }
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

pub(crate) fn merge_columns(
    counts: &[ShardCounts],
    columns: &Columns,
) -> Result<Vec<ColumnCounts>> {
    let mut merged: Vec<ColumnCounts> = vec![ColumnCounts::default(); columns.features.len()];
    for shard in counts {
        for ((ours, theirs), column) in merged.iter_mut().zip(&shard.columns).zip(&columns.features)
        {
            ours.nulls += theirs.nulls;
            ours.valid += theirs.valid;
            match (ours.width, theirs.width) {
                (Some(ours), Some(theirs)) if ours != theirs => {
                    return Err(Error::Invalid(format!(
                        "column \"{}\" holds arrays of length {ours} and of length {theirs}; a feature array has one \
                         length",
                        column.name
                    )));
                }
                (None, width) => ours.width = width,
                _ => {}
            }
            ours.categories
                .resize(theirs.categories.len(), BTreeMap::new());
            for (ours, theirs) in ours.categories.iter_mut().zip(&theirs.categories) {
                for (value, count) in theirs {
                    *ours.entry(value.clone()).or_default() += count;
                }
                if ours.len() > CATEGORY_VALUES_MAX {
                    return Err(Error::Invalid(format!(
                        "column \"{}\" has over {CATEGORY_VALUES_MAX} distinct values, too many for categories; leave \
                         it out, or group its values",
                        column.name
                    )));
                }
            }
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
    Ok(merged)
}
