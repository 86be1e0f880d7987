//! Counts and statistics of the training rows → encoders of columns.

use std::collections::BTreeMap;

use crate::data::apart::parts;
use crate::data::columns::{Column, Columns};
use crate::data::encode::standardise::Standardiser;
use crate::data::encode::tabular::{ColumnEncoder, Vocabulary};
use crate::data::parts::CategoryPart;
use crate::train::counts::ColumnCounts;

pub(crate) fn encoders(
    columns: &Columns,
    merged: &[ColumnCounts],
    standardisers: &[Standardiser],
    widths: &[usize],
) -> (Vec<ColumnEncoder>, Vec<Vec<u32>>) {
    let mut numbers = standardisers.iter().copied();
    let mut frequent = Vec::with_capacity(merged.len());
    let mut encoders = Vec::with_capacity(merged.len());
    for ((column, counts), &width) in columns.features.iter().zip(merged).zip(widths) {
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

fn vocabulary(column: &Column, position: usize, counts: &BTreeMap<String, u64>) -> Vocabulary {
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

/// The position of the most frequent value, the first of equally frequent values.
fn most_frequent(vocabulary: &Vocabulary, counts: &BTreeMap<String, u64>) -> u32 {
    let count = |value: &String| counts.get(value).copied().unwrap_or(0);
    let positions = vocabulary.values.iter().enumerate();
    let best =
        positions.max_by_key(|(position, value)| (count(value), std::cmp::Reverse(*position)));
    best.map_or(0, |(position, _)| position as u32)
}
