//! [`Block`]: a layer of a transformer with its norms before attention and before the perceptron.
//!
//! ```text
//! x = x + out (attention (query, key, value of norm (x)))
//! x = x + second (activation (first (norm (x))))
//! ```

use candle_core::Tensor;

use super::builder::Builder;
use super::layers::{LayerNorm, Linear};
use crate::Result;
use crate::nn::{Attention, Pointwise, attention, pointwise};

/// The sizes of a transformer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(super) width: usize,
    /// The width between the layers of a perceptron.
    pub(super) wide: usize,
    pub(super) heads: usize,
    pub(super) layers: usize,
    pub(super) activation: Pointwise,
    pub(super) epsilon: f64,
}

/// The names of the layers of a block.
#[derive(Debug)]
pub(super) struct BlockNames {
    pub(super) before_attention: String,
    pub(super) projections: Projections,
    pub(super) out: String,
    pub(super) before_perceptron: String,
    pub(super) first: String,
    pub(super) second: String,
}

/// The layers that make queries, keys and values.
#[derive(Debug)]
pub(super) enum Projections {
    /// One layer for each, some without a bias.
    Three([String; 3]),
    /// One layer for all three: its weight and its bias.
    One([String; 2]),
}

/// A layer of a transformer.
#[derive(Debug)]
pub(super) struct Block {
    before_attention: LayerNorm,
    projections: [Linear; 3],
    out: Linear,
    before_perceptron: LayerNorm,
    first: Linear,
    second: Linear,
    heads: usize,
    activation: Pointwise,
}

impl Block {
    /// Takes a block of vectors for `tokens` tokens from the weights.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for weights that do not fit.
    pub(super) fn take(
        builder: &mut Builder<'_>,
        names: &BlockNames,
        sizes: &Sizes,
        (has_bias, tokens): (bool, usize),
    ) -> Result<Self> {
        let (width, wide) = (sizes.width, sizes.wide);
        builder.count(tokens * width * 5);
        builder.count(tokens * wide);
        let square = [width; 2];
        let projections = match &names.projections {
            Projections::Three([query, key, value]) => [
                builder.linear(query, square, has_bias)?,
                builder.linear(key, square, has_bias)?,
                builder.linear(value, square, has_bias)?,
            ],
            Projections::One(names) => builder.three_linear(names, width)?,
        };
        Ok(Self {
            before_attention: builder.layer_norm(&names.before_attention, width, sizes.epsilon)?,
            projections,
            out: builder.linear(&names.out, square, true)?,
            before_perceptron: builder.layer_norm(
                &names.before_perceptron,
                width,
                sizes.epsilon,
            )?,
            first: builder.linear(&names.first, [width, wide], true)?,
            second: builder.linear(&names.second, [wide, width], true)?,
            heads: sizes.heads,
            activation: sizes.activation,
        })
    }

    /// The output for `x` `[rows, tokens, width]`, in which tokens attend to each other as the mask of [`Attention`] lets them.
    pub(super) fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let normal = self.before_attention.forward(x)?;
        let [query, key, value] = &self.projections;
        let how = Attention {
            heads: self.heads,
            mask: mask.cloned(),
        };
        let means = attention(
            &query.forward(&normal)?,
            &key.forward(&normal)?,
            &value.forward(&normal)?,
            how,
        )?;
        let x = (self.out.forward(&means)? + x)?;
        let wide = self.first.forward(&self.before_perceptron.forward(&x)?)?;
        let narrow = self.second.forward(&pointwise(self.activation, &wide)?)?;
        Ok((narrow + x)?)
    }
}
