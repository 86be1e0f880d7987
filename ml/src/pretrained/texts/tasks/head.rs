//! [`Head`]: the layers behind an encoder, from the vectors of texts or tokens to scores.
//!
//! ```text
//! vectors ─ dense ─ function ─ norm ─ output        of most families without dense, function or norm for some tasks
//! ```

use candle_core::Tensor;

use crate::Result;
use crate::nn::{Pointwise, pointwise};
use crate::pretrained::config::Config;
use crate::pretrained::layers::LayerNorm;
use crate::pretrained::texts::layers::{Dense, take_norm};
use crate::pretrained::texts::spec::EncoderSpec;
use crate::pretrained::texts::tensors::{Tensors, Wanted};

/// A dense layer with a function behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct TransformSpec {
    /// The name of the layer.
    pub(super) dense: &'static str,
    /// Whether the name begins as those of the encoder's layers.
    pub(super) is_in_encoder: bool,
    /// The name of the flag that says whether the layer has a bias, if it may have none.
    pub(super) bias: Option<&'static str>,
    pub(super) function: Function,
    /// The name of the norm, which is of the kind of the encoder's.
    pub(super) norm: Option<&'static str>,
    /// Whether the outputs have the width of the encoder's table of tokens, not that of its vectors.
    pub(super) narrows: bool,
}

impl TransformSpec {
    /// The name of the layer in a model the names of whose encoder begin with `base`.
    pub(super) fn name(&self, base: &str) -> String {
        match self.is_in_encoder {
            true => format!("{base}{}", self.dense),
            false => self.dense.to_owned(),
        }
    }
}

/// The function behind a dense layer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Function {
    Is(Pointwise),
    /// That of the layers of the encoder.
    OfEncoder,
    /// The one that this field of the description names, or else the one of this name.
    Named(&'static str, &'static str),
}

impl Function {
    pub(super) fn of(self, config: &Config, encoder: &EncoderSpec) -> Result<Pointwise> {
        match self {
            Self::Is(function) => Ok(function),
            Self::OfEncoder => Ok(encoder.sizes.activation),
            Self::Named(field, default) => {
                let name = config.text(field)?.unwrap_or(default);
                let problem = || format!("is \"{name}\", which is not supported");
                Pointwise::named(name).ok_or_else(|| config.unsupported(field, problem()))
            }
        }
    }
}

/// A dense layer with its function and its norm.
#[derive(Debug)]
pub(super) struct Transform {
    dense: Dense,
    function: Pointwise,
    norm: Option<LayerNorm>,
}

impl Transform {
    /// Takes the layer behind an encoder whose names begin with `base`, and returns the width of its outputs.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(super) fn take(
        tensors: &mut dyn Tensors,
        config: &Config,
        (encoder, base): (&EncoderSpec, &str),
        spec: &TransformSpec,
    ) -> Result<(Self, usize)> {
        let inputs = encoder.sizes.width;
        let outputs = match spec.narrows {
            true => encoder.embedding.width,
            false => inputs,
        };
        let has_bias = spec
            .bias
            .map_or(Ok(true), |flag| config.flag(flag, false))?;
        let dense = Dense::take(tensors, &[spec.name(base)], [inputs, outputs], has_bias)?;
        let norm = match spec.norm {
            None => None,
            Some(name) => Some(take_norm(tensors, name, encoder.norm_of(outputs))?),
        };
        let transform = Self {
            dense,
            function: spec.function.of(config, encoder)?,
            norm,
        };
        Ok((transform, outputs))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = pointwise(self.function, &self.dense.forward(x)?)?;
        match &self.norm {
            None => Ok(x),
            Some(norm) => norm.forward(&x),
        }
    }
}

/// The layers behind an encoder.
#[derive(Debug)]
pub(super) struct Head {
    transform: Option<Transform>,
    output: Output,
    outputs: usize,
}

/// The last layer.
#[derive(Debug)]
enum Output {
    Dense(Dense),
    /// A score for each token of the vocabulary: the products with the vectors `[tokens, width]`, and a bias `[tokens]`.
    Tokens(Tensor, Option<Tensor>),
}

impl Head {
    /// Takes a head with so many outputs for vectors of this width; `output` is the name of its last layer.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(super) fn take(
        tensors: &mut dyn Tensors,
        (transform, output): (Option<(Transform, usize)>, &str),
        width: usize,
        outputs: usize,
    ) -> Result<Self> {
        let (transform, width) = match transform {
            None => (None, width),
            Some((transform, width)) => (Some(transform), width),
        };
        let names = [output.to_owned()];
        Ok(Self {
            transform,
            output: Output::Dense(Dense::take(tensors, &names, [width, outputs], true)?),
            outputs,
        })
    }

    /// Takes a head with an output for each token; `vectors` is the name of the table of their vectors, `bias` that of the bias.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(super) fn take_tokens(
        tensors: &mut dyn Tensors,
        (transform, width): (Transform, usize),
        (vectors, bias): (&str, Option<&str>),
        vocabulary: usize,
    ) -> Result<Self> {
        let vectors = tensors.take(&Wanted::stored(vectors, &[vocabulary, width]))?;
        let bias = match bias {
            None => None,
            Some(name) => Some(tensors.take(&Wanted::stored(name, &[vocabulary]))?),
        };
        Ok(Self {
            transform: Some(transform),
            output: Output::Tokens(vectors, bias),
            outputs: vocabulary,
        })
    }

    /// The scores of a vector.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The scores `[rows, outputs]` of `x` `[rows, width]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let transformed = match &self.transform {
            None => None,
            Some(transform) => Some(transform.forward(x)?),
        };
        let x = transformed.as_ref().unwrap_or(x);
        match &self.output {
            Output::Dense(dense) => dense.forward(x),
            Output::Tokens(vectors, bias) => {
                // The table is that of the encoder in most models, so that it is not transposed in memory.
                let scores = x.matmul(&vectors.t()?)?;
                Ok(match bias {
                    None => scores,
                    Some(bias) => scores.broadcast_add(bias)?,
                })
            }
        }
    }
}
