//! The layers of encoders, made of the tensors that they take.

use candle_core::Tensor;

use super::tensors::{Tensors, Wanted};
use crate::Result;
use crate::nn::linear;
use crate::pretrained::layers::LayerNorm;

/// Linear layers side by side, of one input.
#[derive(Debug)]
pub(crate) struct Dense {
    /// `[inputs, outputs]`
    pub(crate) weight: Tensor,
    /// `[outputs]`
    pub(crate) bias: Tensor,
}

impl Dense {
    /// Layers of these names, each of which has so many `[inputs, outputs]`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(crate) fn take(
        tensors: &mut dyn Tensors,
        names: &[String],
        [inputs, outputs]: [usize; 2],
        has_bias: bool,
    ) -> Result<Self> {
        let weight = tensors.take(&Wanted::weights(names, [inputs, outputs]))?;
        let bias = match has_bias {
            true => tensors.take(&Wanted::biases(names, outputs))?,
            false => Tensor::zeros(weight.dim(1)?, weight.dtype(), weight.device())?,
        };
        Ok(Self { weight, bias })
    }

    /// So many outputs, from this one on.
    pub(crate) fn part(&self, start: usize, outputs: usize) -> Result<Self> {
        Ok(Self {
            weight: self.weight.narrow(1, start, outputs)?.contiguous()?,
            bias: self.bias.narrow(0, start, outputs)?.contiguous()?,
        })
    }

    /// The outputs `[rows, outputs]` for `x` `[rows, inputs]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.weight, &self.bias, None)
    }
}

/// Layer normalisation of vectors of this width.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
pub(crate) fn take_norm(
    tensors: &mut dyn Tensors,
    name: &str,
    (width, epsilon, has_bias): (usize, f64, bool),
) -> Result<LayerNorm> {
    let weight = tensors.take(&Wanted::stored(format!("{name}.weight"), &[width]))?;
    let bias = match has_bias {
        true => tensors.take(&Wanted::stored(format!("{name}.bias"), &[width]))?,
        false => weight.zeros_like()?,
    };
    Ok(LayerNorm {
        weight,
        bias,
        epsilon,
    })
}
