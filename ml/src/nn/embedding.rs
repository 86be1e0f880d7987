//! The rows of a weight matrix that ids name, and their sums: products with one-hot categories, without the zeros.

#[cfg(feature = "cuda")]
use candle_core::{CpuStorage, CudaStorage, CustomOp2, Layout, Shape};
use candle_core::{DType, Tensor};

use super::values::is_half;
use crate::Result;
#[cfg(feature = "cuda")]
use crate::device::kernels;

/// The rows of `weight` `[count, width]` that `ids` `[ids]` (u32) name: `[ids, width]`.
///
/// # Errors
/// [`Error::Internal`](crate::Error::Internal) for an id that is not below `count`, on the host. A GPU does not check it.
pub fn embedding(ids: &Tensor, weight: &Tensor) -> Result<Tensor> {
    match ids.device().is_cpu() {
        true => Ok(weight.index_select(&ids.contiguous()?, 0)?),
        false => embedding_sum(ids, weight, ids.elem_count()),
    }
}

/// Sums the rows of `weight` `[ids, outputs]` that `ids` `[rows * categories]` name: `[rows, outputs]`.
pub fn embedding_sum(ids: &Tensor, weight: &Tensor, rows: usize) -> Result<Tensor> {
    if is_half(weight) {
        return half_sum(ids, weight, rows);
    }
    #[cfg(feature = "cuda")]
    if ids.device().is_cuda() && weight.dtype() == DType::F32 && rows > 0 {
        let sum = EmbeddingSum { rows };
        return Ok(ids.contiguous()?.apply_op2(&weight.contiguous()?, sum)?);
    }
    sum_of_rows(&weight.index_select(ids, 0)?, rows)
}

/// The sum of weights of 16 bits, in f32 and rounded once. Either all weights become f32 or those that the ids name,
/// whichever are fewer.
fn half_sum(ids: &Tensor, weight: &Tensor, rows: usize) -> Result<Tensor> {
    let sum = match weight.dim(0)? <= ids.elem_count() {
        true => embedding_sum(ids, &weight.to_dtype(DType::F32)?, rows)?,
        false => {
            let picked = weight.index_select(ids, 0)?;
            sum_of_rows(&picked.to_dtype(DType::F32)?, rows)?
        }
    };
    Ok(sum.to_dtype(weight.dtype())?)
}

/// Sums the rows of `picked` `[rows * categories, outputs]` that belong to one row: `[rows, outputs]`.
fn sum_of_rows(picked: &Tensor, rows: usize) -> Result<Tensor> {
    let (named, outputs) = picked.dims2()?;
    let categories = named / rows.max(1);
    Ok(picked.reshape((rows, categories, outputs))?.sum(1)?)
}

/// The sum on a GPU. candle's gradient of `index_select` there adds one row after the other.
#[cfg(feature = "cuda")]
#[derive(Debug, Clone, Copy)]
struct EmbeddingSum {
    rows: usize,
}

#[cfg(feature = "cuda")]
impl CustomOp2 for EmbeddingSum {
    fn name(&self) -> &'static str {
        "embedding_sum"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        candle_core::bail!("embedding_sum: a sum of a GPU met a tensor of the host")
    }

    fn cuda_fwd(
        &self,
        ids: &CudaStorage,
        ids_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        kernels::embedding_sum((ids, ids_layout), (weight, weight_layout), self.rows)
    }

    fn bwd(
        &self,
        ids: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = kernels::embedding_slopes(ids, &dy.contiguous()?, weight.dim(0)?)?;
        Ok((None, Some(gradient)))
    }
}
