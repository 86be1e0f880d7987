//! Normalisation of each channel over the rows of a batch, then a factor and a summand for each channel: batch norm.
//!
//! ```text
//! training   mean and variance of the batch; the gradient goes through both
//! inference  mean and variance of the training, which are constants
//! y = weight (x - mean) / √(variance + ε) + bias
//! ```
//! On the host it is one operation, that of `channel_norm`; on a GPU, a composition of candle operations.

use candle_core::{DType, Tensor};

use super::channel_norm::{Normalise, Sizes, scales};
use super::norm::EPSILON;
use crate::Result;

/// The mean and the variance of each channel, both `[channels]`.
#[derive(Debug, Clone)]
pub struct ChannelStatistics {
    /// The mean.
    pub mean: Tensor,
    /// The variance.
    pub variance: Tensor,
}

/// Normalises each channel of `x` `[rows, channels, …]` to mean 0 and variance 1, then multiplies it by its `weight` and adds
/// its `bias`, both `[channels]`. Also returns what the running statistics should follow: the mean and the unbiased
/// variance of the batch. One number for each channel has no variance, so the `running` variance is returned then.
///
/// Ioffe and Szegedy, "Batch normalization", 2015.
///
/// # Errors
/// [`Error::Internal`](crate::Error::Internal) if the shapes do not match.
pub fn batch_norm_training(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    running: &ChannelStatistics,
) -> Result<(Tensor, ChannelStatistics)> {
    let sizes = Sizes::of(x)?;
    let (y, mean, variance) = match x.device().is_cpu() {
        true => fused_training(x, weight, bias, sizes)?,
        false => composed_training(x, weight, bias, sizes)?,
    };
    let variance = match sizes.count() {
        0 | 1 => running.variance.detach(),
        count => (variance * (count as f64 / (count - 1) as f64))?,
    };
    Ok((y, ChannelStatistics { mean, variance }))
}

/// As [`batch_norm_training`], with the mean and the variance that the training found.
///
/// # Errors
/// [`Error::Internal`](crate::Error::Internal) if the shapes do not match.
pub fn batch_norm_inference(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    running: &ChannelStatistics,
) -> Result<Tensor> {
    let sizes = Sizes::of(x)?;
    if !x.device().is_cpu() {
        let centred = sizes.apart(x)?.broadcast_sub(&across(&running.mean)?)?;
        let y = scaled(&centred, &across(&running.variance)?, weight, bias)?;
        return Ok(y.reshape(x.shape())?);
    }
    let numbers = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.to_vec1::<f64>();
    let layer = Normalise {
        sizes,
        means: numbers(&running.mean)?,
        scales: scales(&numbers(&running.variance)?),
        is_measured: false,
        has_input_gradient: x.track_op(),
    };
    layer.apply(x, weight, bias)
}

/// The output, and the mean and the variance of each channel.
fn fused_training(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    sizes: Sizes,
) -> Result<(Tensor, Tensor, Tensor)> {
    let x = x.contiguous()?;
    let (means, variances) = sizes.measure(&x)?;
    let tensor = |values: &[f64]| {
        let values = Tensor::from_slice(values, sizes.channels, x.device())?;
        values.to_dtype(x.dtype())
    };
    let (mean, variance) = (tensor(&means)?, tensor(&variances)?);
    let layer = Normalise {
        sizes,
        means,
        scales: scales(&variances),
        is_measured: true,
        has_input_gradient: x.track_op(),
    };
    Ok((layer.apply(&x, weight, bias)?, mean, variance))
}

/// [`fused_training`] with candle operations.
fn composed_training(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    sizes: Sizes,
) -> Result<(Tensor, Tensor, Tensor)> {
    let apart = sizes.apart(x)?;
    let mean = apart.mean_keepdim((0, 2))?;
    let centred = apart.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim((0, 2))?;
    let y = scaled(&centred, &variance, weight, bias)?.reshape(x.shape())?;
    let flat = |statistic: Tensor| statistic.detach().flatten_all();
    Ok((y, flat(mean)?, flat(variance)?))
}

/// `weight centred / √(variance + ε) + bias`, where `centred` is `[rows, channels, positions]`.
fn scaled(centred: &Tensor, variance: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let normal = centred.broadcast_div(&(variance + EPSILON)?.sqrt()?)?;
    let product = normal.broadcast_mul(&across(weight)?)?;
    Ok(product.broadcast_add(&across(bias)?)?)
}

/// `[channels]` as `[1, channels, 1]`.
fn across(values: &Tensor) -> Result<Tensor> {
    Ok(values.reshape((1, values.elem_count(), 1))?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    fn var(values: &[f64], shape: &[usize]) -> Var {
        Var::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    fn numbers(tensor: &Tensor) -> Vec<f64> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn running() -> ChannelStatistics {
        ChannelStatistics {
            mean: var(&[1.0, -1.0], &[2]).detach(),
            variance: var(&[4.0, 0.25], &[2]).detach(),
        }
    }

    #[test]
    fn one_operation_is_its_parts() {
        let values: Vec<f64> = (0..24).map(|n| f64::from(n * 7 % 11) / 3.0 - 1.0).collect();
        let x = var(&values, &[4, 2, 3]);
        let (weight, bias) = (var(&[1.5, -0.5], &[2]), var(&[0.25, 2.0], &[2]));
        let sizes = Sizes::of(&x).unwrap();
        let (fused, mean, variance) = fused_training(&x, &weight, &bias, sizes).unwrap();
        let parts = composed_training(&x, &weight, &bias, sizes).unwrap();
        let near = |left: &Tensor, right: &Tensor| {
            let (left, right) = (numbers(left), numbers(right));
            let mut pairs = left.iter().zip(&right);
            assert!(
                pairs.all(|(l, r)| (l - r).abs() < 1e-12),
                "{left:?} {right:?}"
            );
        };
        near(&fused, &parts.0);
        near(&mean, &parts.1);
        near(&variance, &parts.2);
        let gradients = [&fused, &parts.0].map(|y| {
            let sum = (y * y.cos().unwrap()).unwrap().sum_all().unwrap();
            sum.backward().unwrap()
        });
        for variable in [&x, &weight, &bias] {
            let [fused, parts] = gradients.each_ref().map(|all| all.get(variable).unwrap());
            near(fused, parts);
        }
    }

    #[test]
    fn the_running_variance_is_unbiased() {
        let x = var(&[1.0, 10.0, 2.0, 10.0, 6.0, 10.0], &[3, 2]);
        let (weight, bias) = (var(&[1.0, 1.0], &[2]), var(&[0.0, 0.5], &[2]));
        let (y, measured) = batch_norm_training(&x, &weight, &bias, &running()).unwrap();
        assert_eq!(numbers(&measured.mean), [3.0, 10.0]);
        assert_eq!(numbers(&measured.variance), [7.0, 0.0]);
        let expected = 3.0 / (14f64 / 3.0 + EPSILON).sqrt();
        assert!((numbers(&y)[4] - expected).abs() < 1e-12);
        assert_eq!(numbers(&y)[5], 0.5);
    }

    #[test]
    fn one_number_has_no_variance() {
        let x = var(&[3.0, 5.0], &[1, 2]);
        let (weight, bias) = (var(&[1.0, 1.0], &[2]), var(&[0.5, -0.5], &[2]));
        let (y, measured) = batch_norm_training(&x, &weight, &bias, &running()).unwrap();
        assert_eq!(numbers(&y), [0.5, -0.5]);
        assert_eq!(numbers(&measured.mean), [3.0, 5.0]);
        assert_eq!(numbers(&measured.variance), [4.0, 0.25]);
    }

    #[test]
    fn inference_uses_the_running_statistics() {
        let x = var(&[3.0, -1.0, 1.0, 0.0], &[2, 2]);
        let (weight, bias) = (var(&[2.0, 1.0], &[2]), var(&[0.0, 1.0], &[2]));
        let y = batch_norm_inference(&x, &weight, &bias, &running()).unwrap();
        let expected = [2.0, 1.0, 0.0, 3.0];
        let mut pairs = numbers(&y).into_iter().zip(expected);
        assert!(
            pairs.all(|(y, expected)| (y - expected).abs() < 1e-4),
            "{y}"
        );
    }
}
