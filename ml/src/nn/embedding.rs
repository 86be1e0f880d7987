//! The product of one-hot categories with a weight matrix, without the zeros.

use candle_core::Tensor;

use crate::Result;

/// Sums the rows of `weight` `[ids, outputs]` that `ids` `[rows * categories]` name: `[rows, outputs]`.
pub fn embedding_sum(ids: &Tensor, weight: &Tensor, rows: usize) -> Result<Tensor> {
    let categories = ids.elem_count() / rows.max(1);
    let outputs = weight.dim(1)?;
    let picked = weight.index_select(ids, 0)?;
    Ok(picked.reshape((rows, categories, outputs))?.sum(1)?)
}
