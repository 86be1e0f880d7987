//! Vectors as a column: its type, and a tensor as such a column.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use candle_core::Tensor;

use crate::Result;

/// The type of a column of vectors of this width.
pub(crate) fn vector_type(width: usize) -> DataType {
    DataType::FixedSizeList(item(), width as i32)
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float32, true))
}

/// Vectors `[rows, width]` as a column of [`vector_type`].
pub(crate) fn vector_column(vectors: &Tensor, valid: Option<&NullBuffer>) -> Result<ArrayRef> {
    let width = vectors.dim(1)?;
    let values: Vec<f32> = vectors.flatten_all()?.to_vec1()?;
    let values = Arc::new(Float32Array::from(values));
    let column = FixedSizeListArray::try_new(item(), width as i32, values, valid.cloned())?;
    Ok(Arc::new(column))
}
