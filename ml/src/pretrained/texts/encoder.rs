//! [`TextEncoder`]: vectors of tokens, each of which depends on all tokens of its text; [`Encoder`]: the transformer of most families.
//!
//! ```text
//! tokens ─ embedding ─┬─ attention ─ + ─ norm ─┬─ perceptron ─ + ─ norm ─ …      norms after the sums
//!                     └──────────────┘         └────────────────┘
//! tokens ─ embedding ─┬─ norm ─ attention ─ + ─┬─ norm ─ perceptron ─ + ─ … ─ norm    norms before
//!                     └─────────────────────┘  └──────────────────────┘
//! ```
//! Texts lie one after the other, so that no layer works on padding.
//!
//! Devlin et al., "BERT: Pre-training of deep bidirectional transformers for language understanding", 2019.

use std::fmt::Debug;

use candle_core::Tensor;

use super::attention::{Attention, Shared};
use super::batch::TokenBatch;
use super::embedding::Embedding;
use super::layers::take_norm;
use super::perceptron::Perceptron;
use super::spec::{EncoderSpec, NormPlace};
use super::tensors::Tensors;
use crate::nn::{Sequences, add_norm};
use crate::pretrained::layers::LayerNorm;
use crate::{Result, stop};

/// A network that gives each token of a text a vector.
pub(crate) trait TextEncoder: Debug + Send + Sync {
    /// The vectors `[tokens, width]`.
    fn hidden(&self, tokens: &TokenBatch) -> Result<Tensor>;

    /// The numbers of a vector.
    fn width(&self) -> usize;
}

/// A transformer.
#[derive(Debug)]
pub(crate) struct Encoder {
    embedding: Embedding,
    shared: Shared,
    layers: Vec<Layer>,
    last_norm: Option<LayerNorm>,
    width: usize,
}

impl Encoder {
    /// Takes an encoder whose tensors have names that begin with `base`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(crate) fn take(tensors: &mut dyn Tensors, spec: &EncoderSpec, base: &str) -> Result<Self> {
        let width = spec.sizes.width;
        let embedding = Embedding::take(tensors, spec, base)?;
        let shared = Shared::take(tensors, spec, base)?;
        let mut layers = vec![];
        for number in 0..spec.sizes.layers {
            layers.push(Layer::take(tensors, spec, &shared, (base, number))?);
        }
        let last_norm = match spec.norms.place {
            NormPlace::After => None,
            NormPlace::Before => {
                let name = format!("{base}{}", spec.names.last_norm);
                Some(take_norm(tensors, &name, spec.norm_of(width))?)
            }
        };
        Ok(Self {
            embedding,
            shared,
            layers,
            last_norm,
            width,
        })
    }
}

impl TextEncoder for Encoder {
    fn hidden(&self, tokens: &TokenBatch) -> Result<Tensor> {
        let first = self.embedding.forward(tokens)?;
        let mut x = first.clone();
        for (number, layer) in self.layers.iter().enumerate() {
            stop::check()?;
            x = layer.forward(&x, &self.shared, &tokens.sequences)?;
            if number == 0 {
                x = self.shared.after_first(&first, x, &tokens.sequences)?;
            }
        }
        match &self.last_norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }

    fn width(&self) -> usize {
        self.width
    }
}

#[derive(Debug)]
struct Layer {
    place: NormPlace,
    /// The first layer has none if norms are before.
    attention_norm: Option<LayerNorm>,
    attention: Attention,
    perceptron_norm: LayerNorm,
    perceptron: Perceptron,
}

impl Layer {
    fn take(
        tensors: &mut dyn Tensors,
        spec: &EncoderSpec,
        shared: &Shared,
        (base, number): (&str, usize),
    ) -> Result<Self> {
        let names = &spec.names;
        let base = format!("{base}{}.{number}.", names.layers);
        let norm = spec.norm_of(spec.sizes.width);
        let place = spec.norms.place;
        let attention_norm = match place == NormPlace::Before && number == 0 {
            true => None,
            false => {
                let name = format!("{base}{}", names.attention_norm);
                Some(take_norm(tensors, &name, norm)?)
            }
        };
        let perceptron_norm = format!("{base}{}", names.perceptron_norm);
        Ok(Self {
            place,
            attention_norm,
            attention: Attention::take(tensors, spec, shared, (&base, number))?,
            perceptron_norm: take_norm(tensors, &perceptron_norm, norm)?,
            perceptron: Perceptron::take(tensors, spec, &base)?,
        })
    }

    /// The vectors `[tokens, width]` after the layer, from those before.
    fn forward(&self, x: &Tensor, shared: &Shared, sequences: &Sequences) -> Result<Tensor> {
        match self.place {
            NormPlace::After => {
                let attended = self.attention.forward(x, shared, sequences)?;
                let x = match &self.attention_norm {
                    Some(norm) => norm_of_sum(&attended, x, norm)?,
                    None => (attended + x)?,
                };
                let wide = self.perceptron.forward(&x)?;
                norm_of_sum(&wide, &x, &self.perceptron_norm)
            }
            NormPlace::Before => {
                let normal = match &self.attention_norm {
                    Some(norm) => norm.forward(x)?,
                    None => x.clone(),
                };
                let x = (self.attention.forward(&normal, shared, sequences)? + x)?;
                let normal = self.perceptron_norm.forward(&x)?;
                Ok((self.perceptron.forward(&normal)? + x)?)
            }
        }
    }
}

fn norm_of_sum(x: &Tensor, residual: &Tensor, norm: &LayerNorm) -> Result<Tensor> {
    add_norm(x, residual, &norm.weight, &norm.bias, norm.epsilon)
}
