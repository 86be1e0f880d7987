//! Dropout with masks from a seeded stream.

use candle_core::Tensor;
#[cfg(feature = "cuda")]
use candle_core::{CpuStorage, CudaStorage, CustomOp1, DType, Layout, Shape};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::Result;
#[cfg(feature = "cuda")]
use crate::device::kernels;

/// Zeroes a share `rate` of the elements of `x` and scales the others by 1 / (1 - rate).
///
/// Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
pub fn dropout(x: &Tensor, rate: f64, random: &mut ChaCha8Rng) -> Result<Tensor> {
    let threshold = (rate * f64::from(u32::MAX)) as u32;
    let kept = (1.0 / (1.0 - rate)) as f32;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() && x.dtype() == DType::F32 {
        let key = random.random();
        let mask = Mask {
            key,
            threshold,
            kept,
        };
        return Ok(x.contiguous()?.apply_op1(mask)?);
    }
    let mask = (0..x.elem_count()).map(|_| {
        if random.random::<u32>() < threshold {
            0.0
        } else {
            kept
        }
    });
    let mask = Tensor::from_vec(mask.collect::<Vec<f32>>(), x.shape(), x.device())?;
    Ok((x * mask.to_dtype(x.dtype())?)?)
}

/// A mask that the GPU computes from a key, forward and backward, so that it takes no memory.
#[cfg(feature = "cuda")]
#[derive(Debug, Clone, Copy)]
struct Mask {
    key: u64,
    threshold: u32,
    kept: f32,
}

#[cfg(feature = "cuda")]
impl CustomOp1 for Mask {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        candle_core::bail!("dropout: a mask of a GPU met a tensor of the host")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let y = kernels::dropout((x, layout), self.key, self.threshold, self.kept)?;
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(dy.contiguous()?.apply_op1_no_bwd(self)?))
    }
}
