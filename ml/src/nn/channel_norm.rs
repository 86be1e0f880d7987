//! [`Normalise`]: batch norm on the host, one operation forward and backward; [`Sizes`]: where the numbers of the channels are.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};

use super::norm::EPSILON;
use super::sums::{sum, sum_of_pairs};
use super::values::{Float, Gradients, elements, storage, with_elements, with_float};
use crate::Result;
use crate::simd::simd_fn;

/// How the numbers of the channels follow each other: `[rows, channels, positions]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    rows: usize,
    pub(super) channels: usize,
    positions: usize,
}

impl Sizes {
    pub(super) fn of(x: &Tensor) -> Result<Self> {
        Ok(Self {
            rows: x.dim(0)?,
            channels: x.dim(1)?,
            positions: x.dims()[2..].iter().product(),
        })
    }

    /// The numbers of a channel.
    pub(super) fn count(self) -> usize {
        self.rows * self.positions
    }

    pub(super) fn apart(self, x: &Tensor) -> Result<Tensor> {
        Ok(x.reshape((self.rows, self.channels, self.positions))?)
    }

    /// The numbers of each channel of each row, with the number of the channel.
    fn runs<T>(self, values: &[T]) -> impl Iterator<Item = (usize, &[T])> {
        let rows = values.chunks_exact((self.channels * self.positions).max(1));
        rows.flat_map(move |row| row.chunks_exact(self.positions.max(1)).enumerate())
    }

    /// The mean and the variance of each channel of `x`.
    pub(super) fn measure(self, x: &Tensor) -> candle_core::Result<(Vec<f64>, Vec<f64>)> {
        with_float!(x.dtype(), T => with_elements([x], |[x]: [&[T]; 1]| Ok(self.moments(x))))
    }

    fn moments<T: Float>(self, x: &[T]) -> (Vec<f64>, Vec<f64>) {
        let count = self.count().max(1) as f64;
        let mut means = vec![0.0; self.channels];
        add_numbers(self, x, &mut means);
        means.iter_mut().for_each(|mean| *mean /= count);
        let mut variances = vec![0.0; self.channels];
        add_squares(self, x, &means, &mut variances);
        variances.iter_mut().for_each(|sum| *sum /= count);
        (means, variances)
    }
}

simd_fn! {
    /// Adds the numbers of each channel.
    fn add_numbers<'a, T: Float>(sizes: Sizes, x: &'a [T], sums: &'a mut [f64]) {
        for (channel, run) in sizes.runs(x) {
            sums[channel] += sum(run, |x: T| x.double());
        }
    }
}

simd_fn! {
    /// Adds the squared distances of the numbers of each channel from their mean.
    fn add_squares<'a, T: Float>(
        sizes: Sizes,
        x: &'a [T],
        means: &'a [f64],
        sums: &'a mut [f64],
    ) {
        for (channel, run) in sizes.runs(x) {
            let mean = means[channel];
            sums[channel] += sum(run, |x: T| (x.double() - mean) * (x.double() - mean));
        }
    }
}

/// What a number is multiplied by to have variance 1.
pub(super) fn scales(variances: &[f64]) -> Vec<f64> {
    let scales = variances.iter();
    let scales = scales.map(|variance| 1.0 / (variance + EPSILON).sqrt());
    scales.collect()
}

/// Batch norm as one operation.
#[derive(Debug)]
pub(super) struct Normalise {
    pub(super) sizes: Sizes,
    pub(super) means: Vec<f64>,
    /// 1 / √(variance + ε) of each channel.
    pub(super) scales: Vec<f64>,
    /// Whether mean and variance are those of the input.
    pub(super) is_measured: bool,
    pub(super) has_input_gradient: bool,
}

impl Normalise {
    /// The output for `x`.
    pub(super) fn apply(self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
        Ok(x.contiguous()?.apply_op3(&weight, &bias, self)?)
    }

    fn forward<T: Float>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let mut y = vec![T::zero(); x.len()];
        write_outputs(self, x, (weight, bias), &mut y);
        y
    }

    fn gradients<T: Float>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<Gradients> {
        let (dx, dw, db) = with_elements([x, weight, dy], |[x, weights, dy]: [&[T]; 3]| {
            let (dw, db) = self.channel_gradients(x, dy);
            let dx = match self.has_input_gradient {
                true => Some(self.input_gradient(x, weights, dy, (&dw, &db))),
                false => None,
            };
            Ok((dx, dw, db))
        })?;
        let device = x.device();
        let dx = dx.map(|dx| Tensor::from_vec(dx, x.shape(), device));
        let tensor = |values: Vec<f64>| {
            let values: Vec<T> = values.into_iter().map(T::of).collect();
            Tensor::from_vec(values, weight.shape(), device)
        };
        Ok((dx.transpose()?, Some(tensor(dw)?), Some(tensor(db)?)))
    }

    /// The gradients with respect to the factors and the summands.
    fn channel_gradients<T: Float>(&self, x: &[T], dy: &[T]) -> (Vec<f64>, Vec<f64>) {
        let mut dw = vec![0.0; self.sizes.channels];
        let mut db = vec![0.0; self.sizes.channels];
        add_channel_slopes(self, x, dy, (&mut dw, &mut db));
        (dw, db)
    }

    /// The gradient with respect to x, from those with respect to the factors and the summands.
    fn input_gradient<T: Float>(
        &self,
        x: &[T],
        weights: &[T],
        dy: &[T],
        (dw, db): (&[f64], &[f64]),
    ) -> Vec<T> {
        // What each number of a channel adds to its mean and to its variance.
        let share = match self.is_measured {
            true => 1.0 / self.sizes.count() as f64,
            false => 0.0,
        };
        let slopes = (0..self.sizes.channels).map(|channel| ChannelSlope {
            factor: self.scales[channel] * weights[channel].double(),
            mean: share * db[channel],
            along: share * dw[channel],
        });
        let slopes: Vec<ChannelSlope> = slopes.collect();
        let mut dx = vec![T::zero(); x.len()];
        write_input_slopes(self, (x, dy), &slopes, &mut dx);
        dx
    }
}

/// How the slope of a number of a channel follows from that of its output.
struct ChannelSlope {
    factor: f64,
    mean: f64,
    along: f64,
}

simd_fn! {
    fn write_outputs<'a, T: Float>(
        layer: &'a Normalise,
        x: &'a [T],
        parameters: (&'a [T], &'a [T]),
        y: &'a mut [T],
    ) {
        let (weight, bias) = parameters;
        let results = y.chunks_exact_mut(layer.sizes.positions.max(1));
        for ((channel, run), y) in layer.sizes.runs(x).zip(results) {
            let mean = T::of(layer.means[channel]);
            let factor = T::of(layer.scales[channel] * weight[channel].double());
            let bias = bias[channel];
            y.iter_mut().zip(run).for_each(|(y, &x)| *y = (x - mean) * factor + bias);
        }
    }
}

simd_fn! {
    /// Adds the gradients with respect to the factors and the summands.
    fn add_channel_slopes<'a, T: Float>(
        layer: &'a Normalise,
        x: &'a [T],
        dy: &'a [T],
        sums: (&'a mut [f64], &'a mut [f64]),
    ) {
        let (dw, db) = sums;
        for ((channel, x), (_, dy)) in layer.sizes.runs(x).zip(layer.sizes.runs(dy)) {
            let mean = layer.means[channel];
            let along = sum_of_pairs(x, dy, |x, dy| dy.double() * (x.double() - mean));
            dw[channel] += along * layer.scales[channel];
            db[channel] += sum(dy, |dy: T| dy.double());
        }
    }
}

simd_fn! {
    fn write_input_slopes<'a, T: Float>(
        layer: &'a Normalise,
        numbers: (&'a [T], &'a [T]),
        slopes: &'a [ChannelSlope],
        dx: &'a mut [T],
    ) {
        let (x, dy) = numbers;
        let results = dx.chunks_exact_mut(layer.sizes.positions.max(1));
        let runs = layer.sizes.runs(x).zip(layer.sizes.runs(dy));
        for (((channel, x), (_, dy)), dx) in runs.zip(results) {
            let (mean, scale) = (layer.means[channel], layer.scales[channel]);
            let ChannelSlope { factor, mean: of_mean, along } = slopes[channel];
            for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                let normal = (x.double() - mean) * scale;
                *dx = T::of(factor * (dy.double() - of_mean - normal * along));
            }
        }
    }
}

impl CustomOp3 for Normalise {
    fn name(&self) -> &'static str {
        "batch_norm"
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
        let channels = [self.means.len()];
        let fits = channels == [self.sizes.channels] && self.scales.len() == channels[0];
        if !fits || weight_layout.dims() != channels || bias_layout.dims() != channels {
            candle_core::bail!("batch_norm: x {:?} has other channels", x_layout.shape());
        }
        let y = with_float!(x.dtype(), T => {
            let x = elements::<T>(x, x_layout)?;
            let (weight, bias) = (elements(weight, weight_layout)?, elements(bias, bias_layout)?);
            storage(self.forward(x, weight, bias))
        });
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
        with_float!(x.dtype(), T => self.gradients::<T>(x, weight, dy))
    }
}
