//! Rows of a training before they are encoded: [`RankRows`] as a rank receives them, [`RawRows`] in the order of training.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::interleave;
use arrow::datatypes::DataType;
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::Result;
use crate::data::columns::Columns;
use crate::train::control::Held;

/// The most rows of a part.
const PART_ROWS: usize = 1 << 16;
/// The most bytes of a part. The offsets of an array end at 2^31, which the rows of a shard may exceed.
const PART_BYTES: usize = 1 << 26;

/// A row by the index of its batch and its index in the batch.
pub(crate) type RowAt = (usize, usize);

/// The rows that one rank received: the rows of its shards, in any order.
#[derive(Debug, Default)]
pub struct RankRows {
    /// The features in their order, then the label, then the split column if there is one.
    pub batches: Vec<RecordBatch>,
    /// A content hash of each row of each batch.
    pub hashes: Vec<Vec<u128>>,
    /// The memory that is reserved for the rows.
    pub held: Vec<Held>,
}

/// A shard before encoding.
pub(crate) struct RawShard {
    pub(crate) number: usize,
    pub(crate) train: RawRows,
    pub(crate) eval: RawRows,
    pub(crate) skipped: u64,
    pub(crate) rows_hash: u128,
}

/// Rows in the order of training, in parts that one array can hold each. How the rows are divided into parts depends on
/// the worker, so no result may depend on it.
pub(crate) struct RawRows {
    /// At least one part; the only part may be empty.
    pub(crate) parts: Vec<RecordBatch>,
    rows: usize,
}

impl RawRows {
    /// The rows of `batches` at these positions, in this order.
    pub(crate) fn gather(
        order: &[RowAt],
        batches: &[RecordBatch],
        columns: &Columns,
        helpers: &ThreadPool,
    ) -> Result<Self> {
        Self::in_parts(order, batches, columns, helpers, part_rows(batches))
    }

    fn in_parts(
        order: &[RowAt],
        batches: &[RecordBatch],
        columns: &Columns,
        helpers: &ThreadPool,
        part_rows: usize,
    ) -> Result<Self> {
        let schema = match batches.first() {
            Some(batch) => batch.schema(),
            None => columns.schema().into(),
        };
        if order.is_empty() {
            return Ok(Self {
                parts: vec![RecordBatch::new_empty(schema)],
                rows: 0,
            });
        }
        let columns: Vec<Vec<&dyn Array>> = (0..schema.fields().len())
            .map(|index| {
                let arrays = batches.iter().map(|batch| batch.column(index).as_ref());
                arrays.collect()
            })
            .collect();
        let part = |order: &[RowAt]| {
            let columns = columns.par_iter().map(|arrays| interleave(arrays, order));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Ok(RecordBatch::try_new(schema.clone(), columns)?)
        };
        let parts: Vec<&[RowAt]> = order.chunks(part_rows).collect();
        Ok(Self {
            parts: helpers.install(|| parts.into_par_iter().map(part).collect::<Result<_>>())?,
            rows: order.len(),
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Memory of the largest part in bytes.
    pub(crate) fn part_bytes(&self) -> usize {
        let parts = self.parts.iter();
        parts
            .map(RecordBatch::get_array_memory_size)
            .max()
            .unwrap_or(0)
    }
}

/// The most rows that a part of these batches may have.
fn part_rows(batches: &[RecordBatch]) -> usize {
    let columns = batches.first().map_or(0, RecordBatch::num_columns);
    let longest = |index: usize| {
        let of_batches = batches.iter().map(|batch| longest(batch.column(index)));
        of_batches.max().unwrap_or(0)
    };
    let row: usize = (0..columns).map(longest).sum();
    (PART_BYTES / row.max(1)).clamp(1, PART_ROWS)
}

/// The bytes of the longest value.
fn longest(values: &dyn Array) -> usize {
    fn longest_of(lengths: impl Iterator<Item = usize>) -> usize {
        lengths.max().unwrap_or(0)
    }
    match values.data_type() {
        DataType::Utf8 => longest_of(values.as_string::<i32>().offsets().lengths()),
        DataType::LargeUtf8 => longest_of(values.as_string::<i64>().offsets().lengths()),
        DataType::Binary => longest_of(values.as_binary::<i32>().offsets().lengths()),
        DataType::LargeBinary => longest_of(values.as_binary::<i64>().offsets().lengths()),
        DataType::Utf8View => {
            let lengths = values.as_string_view().lengths();
            longest_of(lengths.map(|length| length as usize))
        }
        DataType::List(_) => {
            let lists = values.as_list::<i32>();
            longest_of(lists.offsets().lengths()) * longest(lists.values()).max(1)
        }
        DataType::LargeList(_) => {
            let lists = values.as_list::<i64>();
            longest_of(lists.offsets().lengths()) * longest(lists.values()).max(1)
        }
        DataType::FixedSizeList(_, length) => {
            let elements = values.as_fixed_size_list().values();
            *length as usize * longest(elements).max(1)
        }
        other => other.primitive_width().unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, ListArray, StringArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::Float32Type;

    use super::*;
    use crate::data::columns::Column;
    use crate::worker::helpers;

    fn batches() -> Vec<RecordBatch> {
        let batch = |first: i32| {
            let numbers = Float64Array::from_iter((first..first + 10).map(f64::from));
            let names = (first..first + 10).map(|name| Some(name.to_string()));
            let columns: [(_, ArrayRef); 2] = [
                ("number", Arc::new(numbers)),
                ("name", Arc::new(StringArray::from_iter(names))),
            ];
            RecordBatch::try_from_iter(columns).unwrap()
        };
        vec![batch(0), batch(100)]
    }

    fn columns() -> Columns {
        let column = |name: &str, data_type| Column {
            name: name.into(),
            data_type,
        };
        Columns {
            features: vec![column("number", DataType::Float64)],
            target: column("name", DataType::Utf8),
        }
    }

    #[test]
    fn parts_hold_the_rows_in_their_order() {
        let (batches, helpers) = (batches(), helpers(2).unwrap());
        let order: Vec<RowAt> = (0..20).map(|row| (row % 2, (row * 7) % 10)).collect();
        let whole = RawRows::gather(&order, &batches, &columns(), &helpers).unwrap();
        assert_eq!((whole.parts.len(), whole.rows()), (1, 20));
        for part_rows in [1, 3, 20] {
            let rows = RawRows::in_parts(&order, &batches, &columns(), &helpers, part_rows);
            let rows = rows.unwrap();
            assert_eq!(rows.parts.len(), 20usize.div_ceil(part_rows));
            let joined = concat_batches(&batches[0].schema(), &rows.parts).unwrap();
            assert_eq!(joined, whole.parts[0]);
        }
        let none = RawRows::gather(&[], &[], &columns(), &helpers).unwrap();
        assert_eq!((none.parts.len(), none.parts[0].num_columns()), (1, 2));
    }

    #[test]
    fn a_part_stays_below_the_offsets_of_an_array() {
        let long = StringArray::from(vec!["x".repeat(1 << 20), "y".into()]);
        let array = ListArray::from_iter_primitive::<Float32Type, _, _>([
            Some(vec![Some(1.0); 1 << 10]),
            Some(vec![Some(1.0)]),
        ]);
        let batch = |column: ArrayRef| RecordBatch::try_from_iter([("column", column)]).unwrap();
        assert_eq!(part_rows(&[batch(Arc::new(long))]), PART_BYTES >> 20);
        assert_eq!(part_rows(&[batch(Arc::new(array))]), PART_BYTES >> 12);
        assert_eq!(part_rows(&[]), PART_ROWS);
    }
}
