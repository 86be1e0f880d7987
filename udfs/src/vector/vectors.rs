//! [`Vectors`]: one vector per row in double precision, from a list column of any kind. [`VectorsOf`] has another precision.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Float64Builder, LargeListArray, ListArray,
    PrimitiveArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

/// Whether a type is a list of numbers or NULL.
pub(crate) fn is_vector(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_numeric() || item.data_type().is_null()
        }
        DataType::Null => true,
        _ => false,
    }
}

/// The name of a type in error messages.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("list of {}", type_name(item.data_type()))
        }
        other => other.to_string().to_lowercase(),
    }
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float64, true))
}

/// The type of a result that is a vector.
pub(crate) fn vector_type() -> DataType {
    DataType::List(item())
}

/// Vectors in double precision.
pub(crate) type Vectors = VectorsOf<Float64Type>;

/// One vector per row, of one type of numbers.
pub struct VectorsOf<T: ArrowPrimitiveType> {
    lists: LargeListArray,
    values: PrimitiveArray<T>,
    is_constant: bool,
}

impl<T: ArrowPrimitiveType> VectorsOf<T> {
    /// The vectors of a column, whose numbers are converted.
    ///
    /// # Errors
    /// If the column is no list of numbers.
    pub fn new(array: &ArrayRef) -> Result<Self> {
        let item = Arc::new(Field::new_list_field(T::DATA_TYPE, true));
        let lists = cast(&without_rest(array)?, &DataType::LargeList(item))?
            .as_list::<i64>()
            .clone();
        let values = lists.values().as_primitive::<T>().clone();
        Ok(Self {
            lists,
            values,
            is_constant: false,
        })
    }

    /// The vectors of an argument; a constant is not repeated for each row.
    pub(crate) fn of_argument(argument: &ColumnarValue) -> Result<Self> {
        match argument {
            ColumnarValue::Array(array) => Self::new(array),
            ColumnarValue::Scalar(scalar) => Ok(Self {
                is_constant: true,
                ..Self::new(&scalar.to_array()?)?
            }),
        }
    }

    /// The vector of all rows, if the argument is a constant and not NULL.
    pub(crate) fn constant(&self) -> Option<&[T::Native]> {
        self.is_constant.then(|| self.row(0)).flatten()
    }

    /// The vector of a row; `None` if it is NULL or has a NULL element.
    pub fn row(&self, row: usize) -> Option<&[T::Native]> {
        let row = if self.is_constant { 0 } else { row };
        if self.lists.is_null(row) {
            return None;
        }
        let offsets = self.lists.value_offsets();
        let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        let has_null = self.values.null_count() > 0
            && (start..end).any(|element| self.values.is_null(element));
        (!has_null).then(|| &self.values.values()[start..end])
    }
}

/// The array without elements outside its lists: the cast of a slice would otherwise convert the whole column each time.
pub(crate) fn without_rest(array: &ArrayRef) -> Result<ArrayRef> {
    let DataType::List(item) = array.data_type() else {
        return Ok(Arc::clone(array));
    };
    let lists = array.as_list::<i32>();
    let offsets = lists.value_offsets();
    let (first, last) = (offsets[0], offsets[lists.len()]);
    if (last - first) as usize == lists.values().len() {
        return Ok(Arc::clone(array));
    }
    let values = lists
        .values()
        .slice(first as usize, (last - first) as usize);
    let offsets = offsets.iter().map(|offset| offset - first).collect();
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(item),
        OffsetBuffer::new(offsets),
        values,
        lists.nulls().cloned(),
    )?))
}

/// Builds a column of vectors.
#[derive(Default)]
pub(crate) struct VectorsBuilder {
    values: Float64Builder,
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl VectorsBuilder {
    pub(crate) fn push(&mut self, vector: Option<impl ExactSizeIterator<Item = f64>>) {
        self.valid.push(vector.is_some());
        self.lengths
            .push(vector.as_ref().map_or(0, ExactSizeIterator::len));
        if let Some(vector) = vector {
            vector.for_each(|value| self.values.append_value(value));
        }
    }

    pub(crate) fn finish(mut self) -> Result<ArrayRef> {
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        let valid = NullBuffer::from(self.valid);
        let values = Arc::new(self.values.finish());
        Ok(Arc::new(ListArray::try_new(
            item(),
            offsets,
            values,
            Some(valid),
        )?))
    }
}
