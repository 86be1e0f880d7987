//! Dropout with masks from a seeded stream.

use candle_core::Tensor;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::Result;

/// Zeroes a share `rate` of the elements of `x` and scales the others by 1 / (1 - rate).
///
/// Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
pub fn dropout(x: &Tensor, rate: f64, random: &mut ChaCha8Rng) -> Result<Tensor> {
    let threshold = (rate * f64::from(u32::MAX)) as u32;
    let kept = (1.0 / (1.0 - rate)) as f32;
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
