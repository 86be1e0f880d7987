//! Dropout with masks from a seeded stream.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
#[cfg(feature = "cuda")]
use candle_core::DType;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::values::{Float, elements, storage, with_elements, with_float};
use crate::Result;
#[cfg(feature = "cuda")]
use crate::device::kernels;

/// Numbers of a stream that are drawn at once.
const DRAWN_AT_ONCE: usize = 1 << 10;

/// Zeroes a share `rate` of the elements of `x` and scales the others by 1 / (1 - rate).
///
/// Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
pub fn dropout(x: &Tensor, rate: f64, random: &mut ChaCha8Rng) -> Result<Tensor> {
    let threshold = (rate * f64::from(u32::MAX)) as u32;
    let kept = (1.0 / (1.0 - rate)) as f32;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() && x.dtype() == DType::F32 {
        let key = random.random();
        let mask = Key {
            key,
            threshold,
            kept,
        };
        return Ok(x.contiguous()?.apply_op1(mask)?);
    }
    let mask = Mask {
        is_kept: draw(x.elem_count(), threshold, random),
        kept,
    };
    Ok(x.contiguous()?.apply_op1(mask)?)
}

/// For each element 1 with the next number of the stream at or above the threshold, else 0. Numbers that are drawn many at once
/// are those that are drawn one by one.
fn draw(elements: usize, threshold: u32, random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut is_kept = Vec::with_capacity(elements);
    let mut numbers = [0u32; DRAWN_AT_ONCE];
    while is_kept.len() < elements {
        let numbers = &mut numbers[..DRAWN_AT_ONCE.min(elements - is_kept.len())];
        random.fill(numbers);
        is_kept.extend(numbers.iter().map(|&number| u8::from(number >= threshold)));
    }
    is_kept
}

/// A mask on the host, in a quarter of the memory of the values.
#[derive(Debug)]
struct Mask {
    /// 1 for an element that is kept, 0 for one that is zeroed.
    is_kept: Vec<u8>,
    /// The factor of an element that is kept.
    kept: f32,
}

impl Mask {
    fn apply<T: Float>(&self, values: &[T]) -> Vec<T> {
        let kept = T::of(self.kept.into());
        let pairs = values.iter().zip(&self.is_kept);
        let masked = pairs.map(|(&value, &is_kept)| {
            let factor = match is_kept {
                0 => T::zero(),
                _ => kept,
            };
            value * factor
        });
        masked.collect()
    }
}

impl CustomOp1 for Mask {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = with_float!(x.dtype(), T => storage(self.apply(elements::<T>(x, layout)?)));
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        with_float!(x.dtype(), T => {
            let dx = with_elements([dy], |[dy]: [&[T]; 1]| Ok(self.apply(dy)))?;
            Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
        })
    }
}

/// A mask that the GPU computes from a key, forward and backward, so that it takes no memory.
#[cfg(feature = "cuda")]
#[derive(Debug, Clone, Copy)]
struct Key {
    key: u64,
    threshold: u32,
    kept: f32,
}

#[cfg(feature = "cuda")]
impl CustomOp1 for Key {
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

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn numbers_drawn_at_once_are_those_drawn_one_by_one() {
        let stream = || ChaCha8Rng::seed_from_u64(7);
        let (mut at_once, mut one_by_one) = (stream(), stream());
        for elements in [0, 1, 63, 2_500] {
            let threshold = u32::MAX / 3;
            let expected = (0..elements).map(|_| one_by_one.random::<u32>() >= threshold);
            let expected: Vec<u8> = expected.map(u8::from).collect();
            assert_eq!(draw(elements, threshold, &mut at_once), expected);
        }
    }
}
