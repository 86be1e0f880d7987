//! [`Scorer`]: the scores that a network gives to sequences of tokens, which a classifier of texts makes classes of.

use candle_core::Tensor;

use super::network::Network;
use super::tokens::TaskTokens;
use crate::data::inputs::Inputs;
use crate::pretrained::texts::pooling::Pooling;
use crate::{Error, Result};

/// A network with its tokens.
#[derive(Debug)]
pub(super) struct Scorer {
    pub(super) network: Network,
    pub(super) tokens: TaskTokens,
    pub(super) pooling: Pooling,
}

impl Scorer {
    /// The scores `[sequences, outputs]`.
    pub(super) fn scores(&self, inputs: &Inputs) -> Result<Tensor> {
        self.network.scores(inputs, |hidden, tokens, _| {
            self.pooling.forward(hidden, &tokens.sequences)
        })
    }
}

/// The memory of so many scores of a row, each of which takes a number, a label and a position in a list.
pub(super) fn output_bytes(scores: usize) -> usize {
    scores * 4 * size_of::<f64>()
}

/// The error for other tensors than those of a model's own pass.
pub(super) fn wrong_count(computed: &[Tensor]) -> Error {
    Error::Internal(format!("{} outputs of a model of texts", computed.len()))
}
