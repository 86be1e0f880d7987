//! Tensors of tract as slices, and slices as tensors.

use tract_onnx::tract_hir::internal::tract_ndarray::{ArrayD, IxDyn};
use tract_onnx::tract_hir::internal::{TDim, Tensor, TractResult};

use super::own::{Shaped, wrong};

/// A tensor of numbers of any type as single-precision numbers.
pub(super) fn singles(tensor: &Tensor) -> TractResult<Vec<f32>> {
    let cast = tensor.cast_to::<f32>()?;
    Ok(cast.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
}

/// A tensor of numbers of any type as double-precision numbers.
pub(super) fn doubles(tensor: &Tensor) -> TractResult<Vec<f64>> {
    let cast = tensor.cast_to::<f64>()?;
    Ok(cast.try_as_plain_ram()?.as_slice::<f64>()?.to_vec())
}

/// A tensor of numbers of any type as integers.
pub(super) fn longs(tensor: &Tensor) -> TractResult<Vec<i64>> {
    let cast = tensor.cast_to::<i64>()?;
    Ok(cast.try_as_plain_ram()?.as_slice::<i64>()?.to_vec())
}

/// The texts of a tensor.
pub(in crate::onnx) fn texts(tensor: &Tensor) -> TractResult<&[String]> {
    tensor.try_as_plain_ram()?.as_slice::<String>()
}

pub(super) fn single(shape: &[usize], values: &[f32]) -> TractResult<Tensor> {
    Tensor::from_shape(shape, values)
}

pub(super) fn integers(shape: &[usize], values: &[i64]) -> TractResult<Tensor> {
    Tensor::from_shape(shape, values)
}

pub(in crate::onnx) fn text_tensor(shape: &[usize], values: Vec<String>) -> TractResult<Tensor> {
    Ok(Tensor::from(ArrayD::from_shape_vec(IxDyn(shape), values)?))
}

/// The number of features of a matrix `[rows, features]`.
///
/// # Errors
/// If the tensor is no matrix, or its width is not known.
pub(super) fn width(operator: &str, input: &Shaped) -> TractResult<usize> {
    match input.shape.as_slice() {
        [_, width] => fixed(operator, width),
        other => Err(wrong(
            operator,
            format!("takes a matrix, and gets {} dimensions", other.len()),
        )),
    }
}

/// Checks that a matrix has so many features.
///
/// # Errors
/// If the tensor is no matrix, or has another number of features.
pub(super) fn check_width(operator: &str, input: &Shaped, features: usize) -> TractResult<()> {
    let found = width(operator, input)?;
    match found == features {
        true => Ok(()),
        false => Err(wrong(
            operator,
            format!("takes {features} features, and gets {found}"),
        )),
    }
}

/// The columns of a matrix of this width, one after the other.
pub(super) fn transposed(matrix: &[f32], width: usize) -> Vec<f32> {
    let rows = matrix.len() / width;
    let mut columns = vec![0.0; matrix.len()];
    for (row, values) in matrix.chunks_exact(width).enumerate() {
        for (column, value) in values.iter().enumerate() {
            columns[column * rows + row] = *value;
        }
    }
    columns
}

/// The only input of an operator.
pub(super) fn only<'a, T>(operator: &str, inputs: &'a [T]) -> TractResult<&'a T> {
    match inputs {
        [input] => Ok(input),
        _ => Err(wrong(
            operator,
            format!("takes one input, and gets {}", inputs.len()),
        )),
    }
}

/// The only input of an operator that takes floats.
pub(super) fn only_floats<'a>(operator: &str, inputs: &'a [Shaped]) -> TractResult<&'a Shaped> {
    let input = only(operator, inputs)?;
    match input.datum_type.is_float() {
        true => Ok(input),
        false => Err(wrong(
            operator,
            format!("takes floats, and gets {:?}", input.datum_type),
        )),
    }
}

/// The size of a dimension that must be fixed.
pub(super) fn fixed(operator: &str, dim: &TDim) -> TractResult<usize> {
    let size = dim.as_i64().and_then(|size| usize::try_from(size).ok());
    size.ok_or_else(|| wrong(operator, format!("needs a fixed size, and gets {dim}")))
}

/// The number of elements along the last dimension, which attributes have one or all of.
pub(super) fn last(operator: &str, input: &Shaped) -> TractResult<usize> {
    match input.shape.last() {
        Some(size) => fixed(operator, size),
        None => Err(wrong(operator, "takes no single value")),
    }
}
