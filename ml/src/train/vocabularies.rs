//! Counts and statistics of the training rows → encoders of columns.

use crate::Result;
use crate::data::apart::parts;
use crate::data::columns::{Column, Columns};
use crate::data::encode::column::{ColumnEncoder, Vocabulary};
use crate::data::encode::keys::Keys;
use crate::data::encode::standardise::Standardiser;
use crate::data::parts::CategoryPart;
use crate::train::base::Base;
use crate::train::counts::{ColumnCounts, Values};

/// What the training rows say about the features.
pub(crate) struct Learnt<'a> {
    pub(crate) merged: &'a [ColumnCounts],
    pub(crate) standardisers: &'a [Standardiser],
    /// The numbers per row of each feature.
    pub(crate) widths: &'a [usize],
    pub(crate) hash_buckets: Option<u32>,
    /// The keys of each feature that has keys.
    pub(crate) keys: &'a [Option<Keys>],
    /// The model whose encodings the training keeps.
    pub(crate) base: Option<Base<'a>>,
}

/// For each category of a feature: the position that replaces a NULL.
type FrequentValues = Vec<Option<u32>>;

/// The encoder of each feature, and the position that replaces a NULL in each of its categories.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) for values that do not fit the base model.
pub(crate) fn encoders(
    columns: &Columns,
    learnt: &Learnt<'_>,
) -> Result<(Vec<ColumnEncoder>, Vec<FrequentValues>)> {
    let merged = learnt.merged;
    let mut numbers = learnt.standardisers.iter().copied();
    let mut frequent = Vec::with_capacity(merged.len());
    let mut encoders = Vec::with_capacity(merged.len());
    let features = columns.features.iter().zip(merged).zip(learnt.widths);
    for (index, ((column, counts), &width)) in features.enumerate() {
        let mut numbers: Vec<Standardiser> = numbers.by_ref().take(width).collect();
        if let Some(base) = learnt.base {
            numbers = base.numbers(index, &numbers)?;
        }
        let values = counts.categories.iter().enumerate();
        let vocabularies = values.map(|(position, values)| {
            let found = vocabulary(column, position, values, learnt.hash_buckets);
            match learnt.base {
                Some(base) => base.vocabulary(index, position, found),
                None => Ok(found),
            }
        });
        let vocabularies = vocabularies.collect::<Result<Vec<Vocabulary>>>()?;
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
            image: None,
            keys: learnt.keys[index].clone(),
        });
    }
    Ok((encoders, frequent))
}

fn vocabulary(
    column: &Column,
    position: usize,
    values: &Values,
    hash_buckets: Option<u32>,
) -> Vocabulary {
    let counts = match values {
        Values::Counted(counts) => counts,
        Values::TooMany | Values::TooLong => {
            return Vocabulary {
                part: String::new(),
                values: vec![],
                buckets: hash_buckets,
            };
        }
    };
    let empty = arrow::array::new_empty_array(&column.data_type);
    let known = parts(&column.name, &empty, None).ok().and_then(|parts| {
        match parts.categories.into_iter().nth(position) {
            // A fixed vocabulary keeps its own order: January is before October.
            Some(CategoryPart::Coded(_, names, part)) => Some((part, names)),
            _ => None,
        }
    });
    let (part, values) = match known {
        Some((part, names)) => {
            let seen = names
                .iter()
                .filter(|name| counts.get(**name).is_some_and(|count| *count > 0));
            (part, seen.map(|name| (*name).into()).collect())
        }
        None => ("", counts.keys().cloned().collect()),
    };
    Vocabulary {
        part: part.into(),
        values,
        buckets: None,
    }
}

/// The position that a NULL is replaced by: that of the most frequent value, the first of equally frequent values. `None`
/// if nobody counted the values.
fn most_frequent(vocabulary: &Vocabulary, values: &Values) -> Option<u32> {
    let Values::Counted(counts) = values else {
        return None;
    };
    let count = |value: &String| counts.get(value).copied().unwrap_or(0);
    let positions = vocabulary.values.iter().enumerate();
    let best =
        positions.max_by_key(|(position, value)| (count(value), std::cmp::Reverse(*position)));
    best.map(|(position, _)| position as u32)
}
