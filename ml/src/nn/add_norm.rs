//! Layer norm of a sum of two tensors, in one pass: what stands behind each part of a layer of BERT.

use candle_core::Tensor;

use super::norm::{Runs, normalise_with, statistics};
use super::values::{Float, is_half, with_elements, with_float};
use crate::simd::simd_fn;
use crate::{Error, Result};

/// The rows of `x` + `residual`, both `[…, width]`, normalised to mean 0 and variance 1, to which `epsilon` is added, times
/// `weight` `[width]`, plus `bias` `[width]`: the numbers of [`normalise_with`](super::normalise_with) for the sum.
///
/// # Errors
/// [`Error::Internal`] for sizes that do not fit.
pub fn add_norm(
    x: &Tensor,
    residual: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(0);
    let fits = x.dims() == residual.dims() && weight.dims() == [width] && bias.dims() == [width];
    if !fits || width == 0 {
        return Err(Error::Internal(format!(
            "norm of a sum: x {:?}, residual {:?}, weight {:?}, bias {:?}",
            x.shape(),
            residual.shape(),
            weight.shape(),
            bias.shape()
        )));
    }
    let all = [x, residual, weight, bias];
    let has_gradients = all.iter().any(|tensor| tensor.track_op());
    if x.device().is_cpu() && !is_half(x) && !has_gradients {
        return Ok(in_one_pass(all, epsilon)?);
    }
    let runs = Runs {
        width,
        positions: 1,
    };
    normalise_with(&(x + residual)?, weight, bias, runs, epsilon)
}

fn in_one_pass(all: [&Tensor; 4], epsilon: f64) -> candle_core::Result<Tensor> {
    let [x, ..] = all;
    with_float!(x.dtype(), T => {
        let y = with_elements(all, |[x, residual, weight, bias]: [&[T]; 4]| {
            let mut y: Vec<T> = vec![0.0; x.len()];
            write_norms((x, residual), (weight, bias), epsilon, &mut y);
            Ok(y)
        })?;
        Tensor::from_vec(y, x.shape(), x.device())
    })
}

simd_fn! {
    /// Writes the norms of the sums of the numbers, with these weights and biases.
    fn write_norms<'a, T: Float>(
        numbers: (&'a [T], &'a [T]),
        parameters: (&'a [T], &'a [T]),
        epsilon: f64,
        y: &'a mut [T],
    ) {
        let ((x, residual), (weights, biases)) = (numbers, parameters);
        let width = weights.len().max(1);
        let rows = x.chunks_exact(width).zip(residual.chunks_exact(width));
        for ((x, residual), y) in rows.zip(y.chunks_exact_mut(width)) {
            let pairs = x.iter().zip(residual);
            y.iter_mut().zip(pairs).for_each(|(y, (&x, &residual))| *y = x + residual);
            let (mean, scale) = statistics(y, epsilon);
            for (y, (&weight, &bias)) in y.iter_mut().zip(weights.iter().zip(biases)) {
                *y = T::of((y.double() - mean) * scale) * weight + bias;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn numbers(shape: &[usize], step: f32) -> Tensor {
        let count = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|n| (n as f32 * step).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn one_pass_gives_the_numbers_of_several() {
        let (x, residual) = (numbers(&[2, 5, 37], 0.7), numbers(&[2, 5, 37], 1.9));
        let (weight, bias) = (numbers(&[37], 0.3), numbers(&[37], 2.3));
        let found = add_norm(&x, &residual, &weight, &bias, 1e-12).unwrap();
        let runs = Runs {
            width: 37,
            positions: 1,
        };
        let sum = (&x + &residual).unwrap();
        let expected = normalise_with(&sum, &weight, &bias, runs, 1e-12).unwrap();
        assert_eq!(found.dims(), [2, 5, 37]);
        let bits = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(bits(&found), bits(&expected));
        let none = numbers(&[0, 37], 1.0);
        let found = add_norm(&none, &none, &weight, &bias, 1e-12).unwrap();
        assert_eq!(found.dims(), [0, 37]);
    }

    #[test]
    fn sizes_that_do_not_fit_are_an_error() {
        let (x, weight) = (numbers(&[2, 3], 0.7), numbers(&[3], 1.0));
        assert!(add_norm(&x, &numbers(&[3, 3], 1.0), &weight, &weight, 1e-5).is_err());
        assert!(add_norm(&x, &x, &numbers(&[2], 1.0), &weight, 1e-5).is_err());
        assert!(add_norm(&x, &x, &weight, &numbers(&[1], 1.0), 1e-5).is_err());
    }
}
