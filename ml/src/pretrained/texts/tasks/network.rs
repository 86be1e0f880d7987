//! [`Network`]: an encoder with a head behind it, and which vectors of its tokens go into the head.

use candle_core::{DType, Device, Tensor};

use super::head::Head;
use super::rows::{ranges, starts, token_batch};
use crate::data::inputs::Inputs;
use crate::nn::Sequences;
use crate::pretrained::texts::batch::TokenBatch;
use crate::pretrained::texts::encoder::TextEncoder;
use crate::pretrained::texts::spec::EncoderSpec;
use crate::{Result, stop};

/// The tokens of one pass through a network.
const PASS_TOKENS: usize = 4_096;

/// An encoder with a head behind it.
#[derive(Debug)]
pub(super) struct Network {
    encoder: Box<dyn TextEncoder>,
    head: Head,
    device: Device,
    /// The memory of the weights.
    bytes: usize,
    /// The numbers of a token that are there at the same time.
    numbers: usize,
    /// The most tokens of a sequence.
    tokens_max: usize,
}

/// How the vectors of the tokens of a text become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The first one.
    First,
    Mean,
}

impl Pooling {
    /// The vectors `[sequences, width]` from those of the tokens, `[tokens, width]`. No sequence is empty.
    pub(super) fn pooled(self, hidden: &Tensor, sequences: &Sequences) -> Result<Tensor> {
        match self {
            Self::First => {
                let first = sequences.ranges().map(|tokens| tokens.start as u32);
                picked(hidden, first.collect())
            }
            Self::Mean => {
                let means = sequences.ranges().map(|tokens| {
                    let vectors = hidden.narrow(0, tokens.start, tokens.len())?;
                    Ok(vectors.mean_keepdim(0)?)
                });
                let means: Vec<Tensor> = means.collect::<Result<_>>()?;
                Ok(Tensor::cat(&means, 0)?)
            }
        }
    }
}

/// The vectors of `hidden` `[tokens, width]` at these positions.
pub(super) fn picked(hidden: &Tensor, positions: Vec<u32>) -> Result<Tensor> {
    let count = positions.len();
    let positions = Tensor::from_vec(positions, count, hidden.device())?;
    Ok(hidden.contiguous()?.index_select(&positions, 0)?)
}

impl Network {
    /// An encoder, which was made of this description, with a head. The weights take so many bytes on the device.
    pub(super) fn new(
        encoder: Box<dyn TextEncoder>,
        head: Head,
        spec: &EncoderSpec,
        (tokens_max, bytes, device): (usize, usize, &Device),
    ) -> Self {
        // Queries, keys and values; the vectors before and after a layer; those within its perceptron.
        let numbers = 5 * spec.sizes.width + 2 * spec.sizes.wide;
        Self {
            encoder,
            head,
            device: device.clone(),
            bytes,
            numbers,
            tokens_max,
        }
    }

    /// The scores of a vector.
    pub(super) fn outputs(&self) -> usize {
        self.head.outputs()
    }

    /// The memory of the weights in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory on the host of the numbers between layers for so many sequences, in bytes.
    pub(super) fn working_bytes(&self, sequences: usize) -> usize {
        match self.device.is_cpu() {
            true => {
                let at_once = PASS_TOKENS.max(self.tokens_max);
                let tokens = sequences.saturating_mul(self.tokens_max).min(at_once);
                tokens * self.numbers * size_of::<f32>()
            }
            false => 0,
        }
    }

    /// The scores `[…, outputs]` of the vectors that `vectors` makes of those of tokens, some rows after the other.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled), and those of the layers.
    pub(super) fn scores(
        &self,
        inputs: &Inputs,
        vectors: impl Fn(&Tensor, &TokenBatch, &Inputs) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut parts = vec![];
        for rows in ranges(starts(inputs)?, PASS_TOKENS) {
            stop::check()?;
            let part = inputs.narrow(rows)?;
            let tokens = token_batch(&part, &self.device)?;
            let hidden = self.encoder.hidden(&tokens)?;
            let vectors = vectors(&hidden, &tokens, &part)?;
            parts.push(self.head.forward(&vectors)?);
        }
        match parts.as_slice() {
            [] => Ok(Tensor::zeros(
                (0, self.outputs()),
                DType::F32,
                &self.device,
            )?),
            [one] => Ok(one.clone()),
            parts => Ok(Tensor::cat(parts, 0)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::HOST;

    #[test]
    fn a_text_is_its_first_token_or_the_mean_of_all() {
        let hidden: Vec<f32> = (0..8).map(|x| x as f32).collect();
        let hidden = Tensor::from_vec(hidden, (4, 2), &HOST).unwrap();
        let sequences = Sequences::of_lengths([3, 1]);
        let pooled = |pooling: Pooling| -> Vec<Vec<f32>> {
            let pooled = pooling.pooled(&hidden, &sequences).unwrap();
            pooled.to_vec2().unwrap()
        };
        assert_eq!(pooled(Pooling::First), [[0.0, 1.0], [6.0, 7.0]]);
        assert_eq!(pooled(Pooling::Mean), [[2.0, 3.0], [6.0, 7.0]]);
    }
}
