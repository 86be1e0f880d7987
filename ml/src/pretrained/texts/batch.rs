//! [`TokenBatch`]: the tokens of several texts, one text after the other.

use candle_core::Tensor;

use crate::nn::Sequences;

/// The tokens of several texts, one text after the other, without padding.
#[derive(Debug, Clone)]
pub(crate) struct TokenBatch {
    /// `[tokens]` (u32)
    pub(crate) ids: Tensor,
    /// `[tokens]` (u32): 0 in the first text of a pair, 1 in the second.
    pub(crate) types: Tensor,
    /// Which tokens belong to which text.
    pub(crate) sequences: Sequences,
}
