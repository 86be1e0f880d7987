//! Normalisation of runs of numbers, then a factor and a summand for each channel: layer norm and group norm.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Shape, Tensor};

use super::values::{Float, Gradients, elements, storage, with_elements, with_float};
use crate::Result;
#[cfg(feature = "cuda")]
use crate::device::layer_kernels::{self, Numbers};

/// Added to a variance, as in PyTorch.
pub(crate) const EPSILON: f64 = 1e-5;

/// How the numbers of a row follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runs {
    /// The numbers that are normalised together.
    pub width: usize,
    /// The numbers of a channel.
    pub positions: usize,
}

/// Normalises each run of `x` to mean 0 and variance 1, then multiplies each channel by its `weight` and adds its `bias`, both
/// `[channels]`. The shape stays the same.
///
/// Ba et al., "Layer normalization", 2016; Wu and He, "Group normalization", 2018.
pub fn normalise(x: &Tensor, weight: &Tensor, bias: &Tensor, runs: Runs) -> Result<Tensor> {
    normalise_with(x, weight, bias, runs, EPSILON)
}

/// [`normalise`] with another number that is added to a variance.
pub fn normalise_with(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    runs: Runs,
    epsilon: f64,
) -> Result<Tensor> {
    let width = runs.width;
    let normal = match x.device().is_cpu() || epsilon == EPSILON {
        true => x.contiguous()?.apply_op1(Normalise { width, epsilon })?,
        // The kernel of GPUs knows one number.
        false => normal_of_tensors(x, width, epsilon)?,
    };
    let scale = Scale {
        positions: runs.positions,
    };
    Ok(normal.apply_op3(&weight.contiguous()?, &bias.contiguous()?, scale)?)
}

/// The runs with mean 0 and variance 1, by operations that every device has.
fn normal_of_tensors(x: &Tensor, width: usize, epsilon: f64) -> Result<Tensor> {
    let runs = x.reshape((x.elem_count() / width.max(1), width))?;
    let centred = runs.broadcast_sub(&runs.mean_keepdim(1)?)?;
    let variance = centred.sqr()?.mean_keepdim(1)?;
    let normal = centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?;
    Ok(normal.reshape(x.shape())?)
}

#[derive(Debug, Clone, Copy)]
struct Normalise {
    width: usize,
    epsilon: f64,
}

/// The mean, and the inverse of the deviation.
fn statistics<T: Float>(run: &[T], epsilon: f64) -> (f64, f64) {
    let count = run.len() as f64;
    let mean = run.iter().map(|x| x.double()).sum::<f64>() / count;
    let squares = run.iter().map(|x| (x.double() - mean).powi(2));
    let variance = squares.sum::<f64>() / count;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

impl Normalise {
    fn forward<T: Float>(&self, x: &[T]) -> Vec<T> {
        let mut y = Vec::with_capacity(x.len());
        for run in x.chunks_exact(self.width) {
            let (mean, scale) = statistics(run, self.epsilon);
            y.extend(run.iter().map(|x| T::of((x.double() - mean) * scale)));
        }
        y
    }

    fn gradient<T: Float>(&self, x: &[T], y: &[T], dy: &[T]) -> Vec<T> {
        let mut dx = Vec::with_capacity(x.len());
        let count = self.width as f64;
        let runs = x.chunks_exact(self.width);
        let of_outputs = y.chunks_exact(self.width).zip(dy.chunks_exact(self.width));
        for (x, (y, dy)) in runs.zip(of_outputs) {
            let (_, scale) = statistics(x, self.epsilon);
            let pairs = || y.iter().zip(dy).map(|(y, dy)| (y.double(), dy.double()));
            let mean = pairs().map(|(_, dy)| dy).sum::<f64>() / count;
            let along = pairs().map(|(y, dy)| y * dy).sum::<f64>() / count;
            dx.extend(pairs().map(|(y, dy)| T::of(scale * (dy - mean - y * along))));
        }
        dx
    }
}

impl CustomOp1 for Normalise {
    fn name(&self) -> &'static str {
        "normalise"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = with_float!(x.dtype(), T => storage(self.forward(elements::<T>(x, layout)?)));
        Ok((y, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let y = layer_kernels::normalise(Numbers::new(x, layout)?, self.width)?;
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let dx = layer_kernels::normalise_slopes(x, y, &dy.contiguous()?, self.width)?;
            return Ok(Some(dx));
        }
        with_float!(x.dtype(), T => {
            let dx = with_elements([x, y, dy], |[x, y, dy]: [&[T]; 3]| {
                Ok(self.gradient(x, y, dy))
            })?;
            Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
        })
    }
}

/// A factor and a summand for each channel.
#[derive(Debug, Clone, Copy)]
struct Scale {
    positions: usize,
}

impl Scale {
    fn forward<T: Float>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let mut y = Vec::with_capacity(x.len());
        if self.positions == 1 {
            for x in x.chunks_exact(weight.len().max(1)) {
                let of_channels = weight.iter().zip(bias);
                let pairs = x.iter().zip(of_channels);
                y.extend(pairs.map(|(&x, (&weight, &bias))| x * weight + bias));
            }
            return y;
        }
        for (index, x) in x.chunks_exact(self.positions).enumerate() {
            let channel = index % weight.len();
            let (weight, bias) = (weight[channel], bias[channel]);
            y.extend(x.iter().map(|&x| x * weight + bias));
        }
        y
    }

    fn gradients<T: Float>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<Gradients> {
        let (dx, dw, db) = with_elements([x, weight, dy], |[x, weights, dy]: [&[T]; 3]| {
            let mut dx = Vec::with_capacity(x.len());
            let mut dw = vec![T::zero(); weights.len()];
            let mut db = vec![T::zero(); weights.len()];
            let x = x.chunks_exact(self.positions);
            let pieces = x.zip(dy.chunks_exact(self.positions));
            for (index, (x, dy)) in pieces.enumerate() {
                let channel = index % weights.len();
                for (&x, &dy) in x.iter().zip(dy) {
                    dw[channel] += dy * x;
                    db[channel] += dy;
                    dx.push(dy * weights[channel]);
                }
            }
            Ok((dx, dw, db))
        })?;
        let device = x.device();
        Ok((
            Some(Tensor::from_vec(dx, x.shape(), device)?),
            Some(Tensor::from_vec(dw, weight.shape(), device)?),
            Some(Tensor::from_vec(db, weight.shape(), device)?),
        ))
    }
}

impl CustomOp3 for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = with_float!(x.dtype(), T => {
            let x = elements::<T>(x, x_layout)?;
            let (weight, bias) = (elements(weight, weight_layout)?, elements(bias, bias_layout)?);
            storage(self.forward(x, weight, bias))
        });
        Ok((y, x_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let y = layer_kernels::scale(
            Numbers::new(x, x_layout)?,
            Numbers::new(weight, weight_layout)?,
            Numbers::new(bias, bias_layout)?,
            self.positions,
        )?;
        Ok((y, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<Gradients> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let dy = dy.contiguous()?;
            let (dx, dw, db) = layer_kernels::scale_slopes(x, weight, &dy, self.positions)?;
            return Ok((Some(dx), Some(dw), Some(db)));
        }
        with_float!(x.dtype(), T => self.gradients::<T>(x, weight, dy))
    }
}
