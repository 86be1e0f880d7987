//! Vectors as an output of a model: the port, and a tensor as a column.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use candle_core::Tensor;

use crate::Result;
use crate::data::signature::{Port, PortKind};

/// The column of vectors.
const EMBEDDING: &str = "embedding";

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float32, true))
}

/// The output of vectors of this width.
pub(super) fn vector_port(width: usize) -> Port {
    Port {
        name: EMBEDDING.into(),
        data_type: DataType::FixedSizeList(item(), width as i32),
        kind: PortKind::Vector { width },
    }
}

/// The rows of a tensor `[rows, width]` as a column.
pub(super) fn vectors(tensor: &Tensor, valid: Option<&NullBuffer>) -> Result<ArrayRef> {
    let width = tensor.dim(1)?;
    let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    let values = Arc::new(Float32Array::from(values));
    let vectors = FixedSizeListArray::try_new(item(), width as i32, values, valid.cloned())?;
    Ok(Arc::new(vectors))
}

/// The rows of `x` `[rows, width]`, each of length 1.
pub(super) fn of_length_one(x: &Tensor) -> Result<Tensor> {
    let lengths = x.sqr()?.sum_keepdim(1)?.sqrt()?;
    Ok(x.broadcast_div(&lengths)?)
}
