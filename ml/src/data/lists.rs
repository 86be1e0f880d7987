//! List columns of every kind as offsets: the first element and the number of elements of each row.
//!
//! arrow's casts between list types are not used: the cast from lists to fixed-size lists ignores the offset of a slice.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, GenericListViewArray,
    LargeListArray, ListArray, OffsetSizeTrait, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef};

use crate::{Error, Result};

/// A list column as elements and rows.
#[derive(Debug)]
pub(crate) struct Lists {
    /// The elements of all rows, possibly with unused elements between them.
    pub(crate) values: ArrayRef,
    /// For each row its first element and its number of elements; undefined for a NULL row.
    pub(crate) rows: Vec<(usize, usize)>,
    /// Which rows are not NULL.
    pub(crate) valid: Option<NullBuffer>,
    item: FieldRef,
}

impl Lists {
    /// Reads a list column of any kind.
    pub(crate) fn of(array: &ArrayRef) -> Result<Self> {
        match array.data_type() {
            DataType::List(item) => Ok(Self::of_lists(array.as_list::<i32>(), item)),
            DataType::LargeList(item) => Ok(Self::of_lists(array.as_list::<i64>(), item)),
            DataType::ListView(item) => Ok(Self::of_views(array.as_list_view::<i32>(), item)),
            DataType::LargeListView(item) => Ok(Self::of_views(array.as_list_view::<i64>(), item)),
            DataType::FixedSizeList(item, _) => {
                Ok(Self::of_fixed(array.as_fixed_size_list(), item))
            }
            other => Err(Error::Internal(format!("{other} where a list is expected"))),
        }
    }

    fn of_lists<O: OffsetSizeTrait>(lists: &GenericListArray<O>, item: &FieldRef) -> Self {
        let offsets = lists.value_offsets().windows(2);
        let rows = offsets.map(|pair| {
            let (start, end) = (pair[0].as_usize(), pair[1].as_usize());
            (start, end - start)
        });
        Self {
            values: Arc::clone(lists.values()),
            rows: rows.collect(),
            valid: lists.nulls().cloned(),
            item: Arc::clone(item),
        }
    }

    fn of_views<O: OffsetSizeTrait>(lists: &GenericListViewArray<O>, item: &FieldRef) -> Self {
        let places = lists.value_offsets().iter().zip(lists.value_sizes());
        Self {
            values: Arc::clone(lists.values()),
            rows: places
                .map(|(start, size)| (start.as_usize(), size.as_usize()))
                .collect(),
            valid: lists.nulls().cloned(),
            item: Arc::clone(item),
        }
    }

    fn of_fixed(lists: &FixedSizeListArray, item: &FieldRef) -> Self {
        let width = lists.value_length() as usize;
        Self {
            values: Arc::clone(lists.values()),
            rows: (0..lists.len())
                .map(|row| (lists.value_offset(row) as usize, width))
                .collect(),
            valid: lists.nulls().cloned(),
            item: Arc::clone(item),
        }
    }

    /// Whether the row is not NULL.
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid.is_valid(row))
    }

    /// The part of `values` that rows use, after the position of its first element.
    pub(crate) fn used_values(&self) -> (usize, ArrayRef) {
        let used = || (0..self.rows.len()).filter(|&row| self.is_valid(row));
        let start = used().map(|row| self.rows[row].0).min().unwrap_or(0);
        let end = used().map(|row| self.rows[row].0 + self.rows[row].1).max();
        let end = end.unwrap_or(0).max(start);
        (start, self.values.slice(start, end - start))
    }

    /// The first element of the first row, if the rows follow each other without gaps, each of `width` elements, and
    /// none is NULL.
    pub(crate) fn contiguous(&self, width: usize) -> Option<usize> {
        let has_null = self
            .valid
            .as_ref()
            .is_some_and(|valid| valid.null_count() > 0);
        let first = self.rows.first().map_or(0, |row| row.0);
        let follows = |(at, row): (usize, &(usize, usize))| *row == (first + at * width, width);
        (!has_null && self.rows.iter().enumerate().all(follows)).then_some(first)
    }

    /// The same lists with offsets of type `O` and without unused elements.
    fn compact<O: OffsetSizeTrait>(&self) -> Result<GenericListArray<O>> {
        let length = |row: usize| match self.is_valid(row) {
            true => self.rows[row].1,
            false => 0,
        };
        let lengths: Vec<usize> = (0..self.rows.len()).map(length).collect();
        let total: usize = lengths.iter().sum();
        if O::from_usize(total).is_none() {
            return Err(Error::Invalid(format!(
                "a batch holds {total} array elements, more than one column can hold; use smaller batches"
            )));
        }
        let (start, used) = self.used_values();
        let mut next = start;
        let is_in_order = (0..self.rows.len())
            .filter(|&row| lengths[row] > 0)
            .all(|row| {
                let follows = self.rows[row].0 == next;
                next += lengths[row];
                follows
            });
        let values = match is_in_order && used.len() == total {
            true => used,
            false => {
                let places = self.rows.iter().zip(&lengths);
                let places = places.flat_map(|((start, _), length)| *start..*start + *length);
                let places = UInt64Array::from_iter_values(places.map(|place| place as u64));
                take(&self.values, &places, None)?
            }
        };
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(GenericListArray::try_new(
            Arc::clone(&self.item),
            offsets,
            values,
            self.valid.clone(),
        )?)
    }
}

/// Lists of any kind as `List`.
pub(crate) fn to_list(array: &ArrayRef) -> Result<ArrayRef> {
    let lists: ListArray = Lists::of(array)?.compact()?;
    Ok(Arc::new(lists))
}

/// Lists of any kind as `LargeList`.
pub(crate) fn to_large_list(array: &ArrayRef) -> Result<ArrayRef> {
    let lists: LargeListArray = Lists::of(array)?.compact()?;
    Ok(Arc::new(lists))
}

#[cfg(test)]
mod tests {
    use arrow::array::ListViewArray;
    use arrow::array::types::Int32Type;
    use arrow::buffer::ScalarBuffer;
    use arrow::datatypes::Field;

    use super::*;

    fn values(array: &ArrayRef) -> Vec<Option<Vec<Option<i32>>>> {
        let lists = to_large_list(array).unwrap();
        let lists = lists.as_list::<i64>().iter();
        let of_row = |row: ArrayRef| row.as_primitive::<Int32Type>().iter().collect();
        lists.map(|row| row.map(of_row)).collect()
    }

    #[test]
    fn a_slice_of_any_flavour_has_the_rows_of_the_slice() {
        let rows = vec![
            Some(vec![Some(1), Some(2)]),
            None,
            Some(vec![None, Some(4)]),
            Some(vec![Some(5), Some(6)]),
        ];
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(rows.clone());
        let large = LargeListArray::from_iter_primitive::<Int32Type, _, _>(rows.clone());
        let fixed = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(rows.clone(), 2);
        let item = Arc::new(Field::new_list_field(DataType::Int32, true));
        // Rows out of order, with an unused element between them.
        let elements: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![
            Some(5),
            Some(6),
            Some(9),
            None,
            Some(4),
            Some(1),
            Some(2),
        ]));
        let views = ListViewArray::new(
            item,
            ScalarBuffer::from(vec![5, 0, 3, 0]),
            ScalarBuffer::from(vec![2, 0, 2, 2]),
            elements,
            Some(NullBuffer::from(vec![true, false, true, true])),
        );
        let all: [ArrayRef; 4] = [
            Arc::new(lists),
            Arc::new(large),
            Arc::new(fixed),
            Arc::new(views),
        ];
        for array in all {
            for start in 0..rows.len() {
                for length in 0..=rows.len() - start {
                    let found = values(&array.slice(start, length));
                    assert_eq!(found, rows[start..start + length], "{}", array.data_type());
                }
            }
        }
    }
}
