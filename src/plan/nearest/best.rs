//! [`Best`]: the nearest items so far of one query; [`Columns`]: the columns of rows as bytes, and back.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::arrow::row::{RowConverter, Rows, SortField};

use crate::error::{Result, SqlState, sql_err};

/// The memory of an item beside its bytes: its place in the heap and the spare capacity of both.
const ITEM_BYTES: usize = 64;

/// An item with its distance; equal distances are in the order of the columns.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) distance: f64,
    pub(super) row: Box<[u8]>,
}

impl Found {
    fn key(&self) -> Key<'_> {
        Key(self.distance, &self.row)
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Found {}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().order(&other.key())
    }
}

struct Key<'a>(f64, &'a [u8]);

impl Key<'_> {
    fn order(&self, other: &Key<'_>) -> Ordering {
        self.0.total_cmp(&other.0).then_with(|| self.1.cmp(other.1))
    }
}

/// The `top_k` nearest items so far; the farthest of them is on top.
#[derive(Debug, Default)]
pub(super) struct Best {
    found: BinaryHeap<Found>,
    bytes: usize,
}

impl Best {
    /// The distance above which no item is taken.
    pub(super) fn limit(&self, top_k: usize) -> f64 {
        match self.found.peek() {
            Some(farthest) if self.found.len() >= top_k => farthest.distance,
            _ => f64::INFINITY,
        }
    }

    /// Takes the item if it is one of the `top_k` nearest.
    pub(super) fn offer(&mut self, top_k: usize, distance: f64, row: &[u8]) {
        if self.found.len() >= top_k {
            let offered = Key(distance, row);
            let is_nearer = |farthest: &Found| offered.order(&farthest.key()).is_lt();
            if !self.found.peek().is_some_and(is_nearer) {
                return;
            }
            if let Some(farthest) = self.found.pop() {
                self.bytes -= farthest.row.len() + ITEM_BYTES;
            }
        }
        self.bytes += row.len() + ITEM_BYTES;
        let row = row.into();
        self.found.push(Found { distance, row });
    }

    /// The memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes
    }

    /// The items, the nearest first.
    pub(super) fn into_sorted(self) -> Vec<Found> {
        self.found.into_sorted_vec()
    }
}

/// Converts columns to bytes with an order, and back.
#[derive(Debug)]
pub(super) struct Columns {
    fields: Vec<FieldRef>,
    converter: RowConverter,
}

impl Columns {
    pub(super) fn try_new(fields: Vec<FieldRef>) -> Result<Self> {
        let keys = fields
            .iter()
            .map(|field| SortField::new(field.data_type().clone()));
        let keys: Vec<SortField> = keys.collect();
        if !RowConverter::supports_fields(&keys) {
            let message = "nearest orders items of equal distance by their columns, and a column has a type without an order; \
                           select the other columns in a sub-query";
            return Err(sql_err(SqlState::Unsupported, message));
        }
        let converter = RowConverter::new(keys)?;
        Ok(Self { fields, converter })
    }

    pub(super) fn to_rows(&self, columns: &[ArrayRef]) -> Result<Rows> {
        Ok(self.converter.convert_columns(columns)?)
    }

    pub(super) fn to_columns<'a>(
        &self,
        rows: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let rows = rows.map(|row| parser.parse(row));
        let columns = self.converter.convert_rows(rows)?.into_iter();
        let typed = columns.zip(&self.fields).map(|(column, field)| {
            // Dictionaries come back as their values.
            match column.data_type() == field.data_type() {
                true => Ok(column),
                false => Ok(cast(&column, field.data_type())?),
            }
        });
        typed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_stay_and_ties_are_in_the_order_of_their_columns() {
        let mut best = Best::default();
        assert_eq!(best.limit(3), f64::INFINITY);
        for (distance, row) in [
            (2.0, b"b"),
            (f64::NAN, b"z"),
            (1.0, b"x"),
            (2.0, b"a"),
            (2.0, b"c"),
            (1.0, b"y"),
        ] {
            best.offer(3, distance, row);
        }
        assert_eq!(best.limit(3), 2.0);
        assert_eq!(best.bytes(), size_of::<Best>() + 3 * (ITEM_BYTES + 1));
        let found: Vec<(f64, Vec<u8>)> = best
            .into_sorted()
            .into_iter()
            .map(|found| (found.distance, found.row.to_vec()))
            .collect();
        assert_eq!(
            found,
            [
                (1.0, b"x".to_vec()),
                (1.0, b"y".to_vec()),
                (2.0, b"a".to_vec())
            ]
        );
    }
}
