//! [`Perceptron`]: the second part of a layer of a transformer, which works on each token by itself.

use candle_core::Tensor;

use super::layers::Dense;
use super::spec::EncoderSpec;
use super::tensors::Tensors;
use crate::Result;
use crate::nn::{Pointwise, feed_forward, gated_feed_forward};

/// second (activation (first (x))), or second (activation (first (x)) · gate (x)).
#[derive(Debug)]
pub(crate) struct Perceptron {
    first: Dense,
    second: Dense,
    activation: Pointwise,
    is_gated: bool,
}

impl Perceptron {
    /// Takes the perceptron of a layer whose names begin with `base`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(crate) fn take(tensors: &mut dyn Tensors, spec: &EncoderSpec, base: &str) -> Result<Self> {
        let (sizes, names) = (&spec.sizes, &spec.names);
        let first = names.first.iter().map(|name| format!("{base}{name}"));
        let first: Vec<String> = first.collect();
        let outputs = sizes.wide * if spec.is_gated { 2 } else { 1 };
        let has_bias = spec.biases.perceptron;
        let of_part = [sizes.width, outputs / first.len()];
        Ok(Self {
            first: Dense::take(tensors, &first, of_part, has_bias)?,
            second: Dense::take(
                tensors,
                &[format!("{base}{}", names.second)],
                [sizes.wide, sizes.width],
                has_bias,
            )?,
            activation: sizes.activation,
            is_gated: spec.is_gated,
        })
    }

    /// The vectors `[tokens, width]` for `x` of this shape.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let first = (&self.first.weight, Some(&self.first.bias));
        let second = (&self.second.weight, Some(&self.second.bias));
        match self.is_gated {
            true => gated_feed_forward(x, first, self.activation, second),
            false => feed_forward(x, first, self.activation, second),
        }
    }
}
