//! Rows of a training before they are encoded: [`RankRows`] as a rank receives them, `RawRows` in the order of training.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray, UInt64Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Schema};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::Result;
use crate::data::columns::Columns;
use crate::train::control::ReservedMemory;

/// The most rows of a part.
const PART_ROWS: usize = 1 << 16;
/// The most bytes of a part. The offsets of an array end at 2^31, which the rows of a shard may exceed.
const PART_BYTES: usize = 1 << 26;

/// A row by the index of its batch and its index in the batch.
pub(crate) type RowAt = (usize, usize);

/// The rows that one rank received: the rows of its shards, in any order.
#[derive(Debug, Default)]
pub struct RankRows {
    /// The features in their order, then the targets, then the split column if there is one.
    pub batches: Vec<RecordBatch>,
    /// A content hash of each row of each batch.
    pub hashes: Vec<Vec<u128>>,
    /// The memory that is reserved for the rows and their hashes.
    pub held: Vec<ReservedMemory>,
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
        Self::in_parts(order, batches, columns, helpers, PART_BYTES)
    }

    fn in_parts(
        order: &[RowAt],
        batches: &[RecordBatch],
        columns: &Columns,
        helpers: &ThreadPool,
        bytes_max: usize,
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
            Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
        };
        let parts = divide(order, batches, bytes_max);
        Ok(Self {
            parts: helpers.install(|| parts.into_par_iter().map(part).collect::<Result<_>>())?,
            rows: order.len(),
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The same rows with another column in place of the one at `index`: `values` has one for each row.
    pub(crate) fn with_column(self, index: usize, values: &ArrayRef) -> Result<Self> {
        let mut start = 0;
        let is_whole = self.parts.len() == 1;
        let parts = self.parts.into_iter().map(|part| {
            let end = start + part.num_rows() as u64;
            // A slice would count as all of the values wherever memory is counted.
            let column = match is_whole {
                true => Arc::clone(values),
                false => take(values, &UInt64Array::from_iter_values(start..end), None)?,
            };
            start = end;
            let field = part.schema().field(index).clone();
            let mut fields = part.schema().fields().to_vec();
            fields[index] = Arc::new(field.with_data_type(column.data_type().clone()));
            let mut columns = part.columns().to_vec();
            columns[index] = column;
            Ok(RecordBatch::try_new(
                Arc::new(Schema::new(fields)),
                columns,
            )?)
        });
        Ok(Self {
            parts: parts.collect::<Result<_>>()?,
            rows: self.rows,
        })
    }

    /// Memory of the largest parts in bytes, as many as there are threads.
    pub(crate) fn bytes_of(&self, threads: usize) -> usize {
        let parts = self.parts.iter();
        let mut bytes: Vec<usize> = parts.map(RecordBatch::get_array_memory_size).collect();
        bytes.sort_unstable_by(|left, right| right.cmp(left));
        bytes.iter().take(threads).sum()
    }
}

/// Divides rows into parts of at most [`PART_ROWS`] rows and about `bytes_max` bytes.
pub(super) fn divide<'a>(
    order: &'a [RowAt],
    batches: &[RecordBatch],
    bytes_max: usize,
) -> Vec<&'a [RowAt]> {
    let columns: Vec<Vec<Lengths<'_>>> = batches
        .iter()
        .map(|batch| batch.columns().iter().map(|column| Lengths::of(column)))
        .map(Iterator::collect)
        .collect();
    let bytes = |&(batch, row): &RowAt| -> usize {
        columns[batch].iter().map(|column| column.bytes(row)).sum()
    };
    let (mut parts, mut start, mut sum) = (Vec::new(), 0, 0);
    for (at, row) in order.iter().enumerate() {
        let bytes = bytes(row);
        if at > start && (at - start == PART_ROWS || sum + bytes > bytes_max) {
            parts.push(&order[start..at]);
            (start, sum) = (at, 0);
        }
        sum += bytes;
    }
    parts.push(&order[start..]);
    parts
}

/// The bytes of each value of a column.
enum Lengths<'a> {
    Fixed(usize),
    Small(&'a [i32], usize),
    Large(&'a [i64], usize),
    Views(&'a StringViewArray),
}

impl<'a> Lengths<'a> {
    fn of(values: &'a dyn Array) -> Self {
        let element = |values: &ArrayRef| match Lengths::of(values) {
            Lengths::Fixed(bytes) => bytes,
            // Features have no lists of texts or of lists; the texts of sets of labels are short.
            _ => size_of::<f64>(),
        };
        match values.data_type() {
            DataType::Utf8 => Self::Small(values.as_string::<i32>().value_offsets(), 1),
            DataType::LargeUtf8 => Self::Large(values.as_string::<i64>().value_offsets(), 1),
            DataType::Binary => Self::Small(values.as_binary::<i32>().value_offsets(), 1),
            DataType::LargeBinary => Self::Large(values.as_binary::<i64>().value_offsets(), 1),
            DataType::Utf8View => Self::Views(values.as_string_view()),
            DataType::List(_) => {
                let lists = values.as_list::<i32>();
                Self::Small(lists.value_offsets(), element(lists.values()))
            }
            DataType::LargeList(_) => {
                let lists = values.as_list::<i64>();
                Self::Large(lists.value_offsets(), element(lists.values()))
            }
            DataType::FixedSizeList(_, length) => {
                let lists = values.as_fixed_size_list();
                Self::Fixed(*length as usize * element(lists.values()))
            }
            DataType::FixedSizeBinary(length) => Self::Fixed(*length as usize),
            other => Self::Fixed(other.primitive_width().unwrap_or(1)),
        }
    }

    fn bytes(&self, row: usize) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Small(offsets, element) => (offsets[row + 1] - offsets[row]) as usize * element,
            Self::Large(offsets, element) => (offsets[row + 1] - offsets[row]) as usize * element,
            Self::Views(views) => match views.is_valid(row) {
                true => views.value(row).len(),
                false => 0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{FixedSizeBinaryArray, Float64Array, ListArray, StringArray};
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
            targets: vec![column("name", DataType::Utf8)],
        }
    }

    #[test]
    fn parts_hold_the_rows_in_their_order() {
        let (batches, helpers) = (batches(), helpers(2).unwrap());
        let order: Vec<RowAt> = (0..20).map(|row| (row % 2, (row * 7) % 10)).collect();
        let whole = RawRows::gather(&order, &batches, &columns(), &helpers).unwrap();
        assert_eq!((whole.parts.len(), whole.rows()), (1, 20));
        // A row has a number of 8 bytes and a text of up to 3 bytes.
        for (bytes, parts) in [(1, 20), (33, 7), (1 << 20, 1)] {
            let rows = RawRows::in_parts(&order, &batches, &columns(), &helpers, bytes).unwrap();
            assert_eq!(rows.parts.len(), parts);
            let joined = concat_batches(&batches[0].schema(), &rows.parts).unwrap();
            assert_eq!(joined, whole.parts[0]);
        }
        let none = RawRows::gather(&[], &[], &columns(), &helpers).unwrap();
        assert_eq!((none.parts.len(), none.parts[0].num_columns()), (1, 2));
    }

    #[test]
    fn a_long_value_has_a_part_of_its_own() {
        let mut texts = vec!["y".to_owned(); 100];
        texts[40] = "x".repeat(PART_BYTES);
        let column: ArrayRef = Arc::new(StringArray::from(texts));
        let batches = [RecordBatch::try_from_iter([("column", column)]).unwrap()];
        let order: Vec<RowAt> = (0..100).map(|row| (0, row)).collect();
        let parts = divide(&order, &batches, PART_BYTES);
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [40, 1, 59]);
    }

    #[test]
    fn an_array_counts_with_its_elements() {
        let array = ListArray::from_iter_primitive::<Float32Type, _, _>([
            Some(vec![Some(1.0); 1 << 10]),
            Some(vec![Some(1.0)]),
        ]);
        let lengths = Lengths::of(&array);
        assert_eq!([lengths.bytes(0), lengths.bytes(1)], [4 << 10, 4]);
        let pixels = FixedSizeBinaryArray::new(768, vec![0u8; 2 * 768].into(), None);
        assert_eq!(Lengths::of(&pixels).bytes(1), 768);
    }
}
