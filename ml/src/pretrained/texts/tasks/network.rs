//! [`Network`]: an encoder with a head behind it.

use candle_core::{DType, Device, Tensor};

use super::head::Head;
use super::rows::{starts, token_batch};
use crate::Result;
use crate::data::inputs::Inputs;
use crate::model::passes::in_passes_of;
use crate::pretrained::texts::batch::TokenBatch;
use crate::pretrained::texts::encoder::TextEncoder;
use crate::pretrained::texts::inputs::{pass_tokens, passes};
use crate::pretrained::texts::parts::encoder_bytes;
use crate::pretrained::texts::spec::EncoderSpec;
use crate::pretrained::texts::tokens::tokenizer::Limits;

/// An encoder with a head behind it.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) encoder: Box<dyn TextEncoder>,
    pub(super) spec: EncoderSpec,
    pub(super) limits: Limits,
    pub(super) head: Head,
    pub(super) device: Device,
    /// The memory of the weights.
    pub(super) bytes: usize,
    /// What a user may want to know: names and values.
    pub(super) facts: Vec<(String, String)>,
}

impl Network {
    /// The scores of a vector.
    pub(super) fn outputs(&self) -> usize {
        self.head.outputs()
    }

    /// The memory on the host of the numbers between layers for so many sequences, in bytes.
    pub(super) fn working_bytes(&self, sequences: usize) -> usize {
        encoder_bytes(&self.spec, &self.limits, &self.device, sequences)
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
        let passes = passes(starts(inputs)?, pass_tokens(&self.device));
        let mut scores = in_passes_of(passes, |rows| {
            let part = inputs.narrow(rows)?;
            let tokens = token_batch(&part, &self.device)?;
            let hidden = self.encoder.hidden(&tokens)?;
            let vectors = vectors(&hidden, &tokens, &part)?;
            Ok(vec![self.head.forward(&vectors)?])
        })?;
        match scores.pop() {
            Some(scores) => Ok(scores),
            None => Ok(Tensor::zeros(
                (0, self.outputs()),
                DType::F32,
                &self.device,
            )?),
        }
    }
}

/// The vectors of `hidden` `[tokens, width]` at these positions.
pub(super) fn picked(hidden: &Tensor, positions: Vec<u32>) -> Result<Tensor> {
    let count = positions.len();
    let positions = Tensor::from_vec(positions, count, hidden.device())?;
    Ok(hidden.contiguous()?.index_select(&positions, 0)?)
}
