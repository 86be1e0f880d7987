//! The rows of a weight matrix that ids name, and their sums: products with one-hot categories, without the zeros.

use candle_core::Tensor;
#[cfg(feature = "cuda")]
use candle_core::{CpuStorage, CudaStorage, CustomOp2, DType, Layout, Shape};

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
    #[cfg(feature = "cuda")]
    if ids.device().is_cuda() && weight.dtype() == DType::F32 && rows > 0 {
        let sum = EmbeddingSum { rows };
        return Ok(ids.contiguous()?.apply_op2(&weight.contiguous()?, sum)?);
    }
    let categories = ids.elem_count() / rows.max(1);
    let outputs = weight.dim(1)?;
    let picked = weight.index_select(ids, 0)?;
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
