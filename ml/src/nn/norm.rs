//! Normalisation of runs of numbers, then a factor and a summand for each channel: layer norm and group norm.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Shape, Tensor};

use super::sums::{sum, sum_of_pairs};
use super::values::{Float, Gradients, elements, storage, with_elements, with_float};
use crate::Result;
#[cfg(feature = "cuda")]
use crate::device::layer_kernels::{self, Numbers};
use crate::simd::simd_fn;

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
#[inline(always)]
pub(super) fn statistics<T: Float>(run: &[T], epsilon: f64) -> (f64, f64) {
    let count = run.len() as f64;
    let mean = sum(run, |x: T| x.double()) / count;
    let squares = sum(run, |x: T| (x.double() - mean) * (x.double() - mean));
    (mean, 1.0 / (squares / count + epsilon).sqrt())
}

impl Normalise {
    fn forward<T: Float>(&self, x: &[T]) -> Vec<T> {
        let mut y = vec![T::zero(); x.len()];
        write_normal(*self, x, &mut y);
        y
    }

    fn gradient<T: Float>(&self, x: &[T], y: &[T], dy: &[T]) -> Vec<T> {
        let mut dx = vec![T::zero(); x.len()];
        write_slopes(*self, (x, y, dy), &mut dx);
        dx
    }
}

simd_fn! {
    /// Writes the runs with mean 0 and variance 1.
    fn write_normal<'a, T: Float>(layer: Normalise, x: &'a [T], y: &'a mut [T]) {
        let Normalise { width, epsilon } = layer;
        for (run, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let (mean, scale) = statistics(run, epsilon);
            let pairs = y.iter_mut().zip(run);
            pairs.for_each(|(y, x)| *y = T::of((x.double() - mean) * scale));
        }
    }
}

simd_fn! {
    /// Writes the slopes of runs, from the numbers, their results, and the slopes of these.
    fn write_slopes<'a, T: Float>(
        layer: Normalise,
        numbers: (&'a [T], &'a [T], &'a [T]),
        dx: &'a mut [T],
    ) {
        let (Normalise { width, epsilon }, (x, y, dy)) = (layer, numbers);
        let count = width as f64;
        let of_outputs = y.chunks_exact(width).zip(dy.chunks_exact(width));
        let runs = x.chunks_exact(width).zip(dx.chunks_exact_mut(width));
        for ((x, dx), (y, dy)) in runs.zip(of_outputs) {
            let (_, scale) = statistics(x, epsilon);
            let mean = sum(dy, |dy: T| dy.double()) / count;
            let along = sum_of_pairs(y, dy, |y, dy| y.double() * dy.double()) / count;
            for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = T::of(scale * (dy.double() - mean - y.double() * along));
            }
        }
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
        let mut y = vec![T::zero(); x.len()];
        write_scaled(self.positions, x, (weight, bias), &mut y);
        y
    }

    fn gradients<T: Float>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<Gradients> {
        let (dx, dw, db) = with_elements([x, weight, dy], |[x, weights, dy]: [&[T]; 3]| {
            let mut dx = vec![T::zero(); x.len()];
            let mut dw = vec![T::zero(); weights.len()];
            let mut db = vec![T::zero(); weights.len()];
            write_scale_slopes(
                self.positions,
                (x, weights, dy),
                &mut dx,
                (&mut dw, &mut db),
            );
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

simd_fn! {
    /// Multiplies `positions` numbers of each channel by its weight, and adds its bias.
    fn write_scaled<'a, T: Float>(
        positions: usize,
        x: &'a [T],
        parameters: (&'a [T], &'a [T]),
        y: &'a mut [T],
    ) {
        let (weights, biases) = parameters;
        if positions == 1 {
            let rows = x.chunks_exact(weights.len().max(1));
            for (x, y) in rows.zip(y.chunks_exact_mut(weights.len().max(1))) {
                let of_channels = y.iter_mut().zip(x).zip(weights.iter().zip(biases));
                of_channels.for_each(|((y, &x), (&weight, &bias))| *y = x * weight + bias);
            }
            return;
        }
        let parameters = weights.iter().zip(biases).cycle();
        let runs = x.chunks_exact(positions).zip(y.chunks_exact_mut(positions));
        for ((x, y), (&weight, &bias)) in runs.zip(parameters) {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * weight + bias);
        }
    }
}

simd_fn! {
    /// Writes the slopes of numbers, and adds those of the weights and biases of their channels.
    fn write_scale_slopes<'a, T: Float>(
        positions: usize,
        numbers: (&'a [T], &'a [T], &'a [T]),
        dx: &'a mut [T],
        sums: (&'a mut [T], &'a mut [T]),
    ) {
        let ((x, weights, dy), (dw, db)) = (numbers, sums);
        if positions == 1 {
            let channels = weights.len().max(1);
            let rows = x.chunks_exact(channels).zip(dy.chunks_exact(channels));
            for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(channels)) {
                dx.iter_mut().zip(dy).zip(weights).for_each(|((dx, &dy), &weight)| *dx = dy * weight);
                dw.iter_mut().zip(x).zip(dy).for_each(|((sum, &x), &dy)| *sum += x * dy);
                db.iter_mut().zip(dy).for_each(|(sum, &dy)| *sum += dy);
            }
            return;
        }
        let numbers = x.chunks_exact(positions).zip(dy.chunks_exact(positions));
        let runs = numbers.zip(dx.chunks_exact_mut(positions));
        for (index, ((x, dy), dx)) in runs.enumerate() {
            let channel = index % weights.len();
            let weight = weights[channel];
            dx.iter_mut().zip(dy).for_each(|(dx, &dy)| *dx = dy * weight);
            dw[channel] += sum_of_pairs(x, dy, |x, dy| x * dy);
            db[channel] += sum(dy, |dy: T| dy);
        }
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
