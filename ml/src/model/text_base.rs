//! [`TextBase`]: an encoder of texts, from which trainings start.

use std::fmt::Debug;
use std::ops::Range;

use candle_core::Tensor;

use crate::Result;
use crate::data::inputs::Inputs;
use crate::model::network::Network;
use crate::model::options::{TextPooling, TrainOptions};

/// What the names of parameters begin with that are tensors of an encoder.
pub const ENCODER: &str = "encoder: ";

/// An encoder of texts, from which trainings start. Its inputs are those of [`Model::encode`](crate::model::Model::encode).
pub trait TextBase: Debug + Send + Sync {
    /// The vectors `[rows, width]` (f32) of texts. That of a row without text is not used.
    ///
    /// # Errors
    /// Those of [`Model::forward`](crate::model::Model::forward).
    fn vectors(&self, inputs: &Inputs, pooling: Option<TextPooling>) -> Result<Tensor>;

    /// The tokens of each row, none for a row without text.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) for tokens that have more than their numbers.
    fn ids(&self, inputs: &Inputs) -> Result<Vec<Vec<u32>>>;

    /// The rows that are computed at once.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error::Internal) for other inputs.
    fn passes(&self, inputs: &Inputs) -> Result<Vec<Range<usize>>>;

    /// A network with the layers of the encoder, but those that the options freeze, and a head behind them. It takes the inputs of
    /// [`Model::encode`](crate::model::Model::encode), or rows of `tokens` numbers: the tokens of a text as [`padded_ids`] writes them.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error::Internal) if the encoder has no such layers.
    fn network(
        &self,
        tokens: usize,
        outputs: usize,
        options: &TrainOptions,
    ) -> Result<Box<dyn Network>>;

    /// The weights before the first step of a network of this encoder, flat.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error::Internal) for another network.
    fn weights(&self, network: &dyn Network, seed: u64) -> Result<Vec<f64>>;
}

/// The numbers of a row of `width` tokens: each token plus 1, then zeros.
pub fn padded_ids(ids: &[u32], width: usize) -> impl Iterator<Item = u32> {
    let ids = ids.iter().map(|id| id + 1);
    ids.chain(std::iter::repeat(0)).take(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_a_row_are_padded_with_zeros() {
        let padded = |ids: &[u32]| padded_ids(ids, 3).collect::<Vec<u32>>();
        assert_eq!(padded(&[7, 0]), [8, 1, 0]);
        assert_eq!(padded(&[]), [0, 0, 0]);
    }
}
