//! [`Embedding`]: the vectors of tokens before the first layer, from their numbers, positions and types.

use candle_core::Tensor;

use super::batch::TokenBatch;
use super::layers::{Dense, take_norm};
use super::spec::{EncoderSpec, Projection};
use super::tensors::{Tensors, Wanted};
use crate::Result;
use crate::nn::{Sequences, embedding};
use crate::pretrained::layers::LayerNorm;

/// The tables of the vectors of tokens.
#[derive(Debug)]
pub(crate) struct Embedding {
    /// `[vocabulary, width]`
    words: Tensor,
    /// `[positions, width]`
    positions: Option<Tensor>,
    /// The number of the token that pads texts, if positions are counted from the number behind it.
    padding: Option<u32>,
    /// `[types, width]`
    types: Option<Tensor>,
    projection: Option<(Dense, Projection)>,
    norm: LayerNorm,
}

impl Embedding {
    /// Takes the tables of an encoder whose names begin with `base`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(crate) fn take(tensors: &mut dyn Tensors, spec: &EncoderSpec, base: &str) -> Result<Self> {
        let of = &spec.embedding;
        let mut table = |name: &str, rows: usize| {
            let name = format!("{base}{name}.weight");
            tensors.take(&Wanted::stored(name, &[rows, of.width]))
        };
        let words = table(of.names.words, of.vocabulary)?;
        let mut table_if = |name: &str, rows: usize| match rows {
            0 => Ok(None),
            rows => table(name, rows).map(Some),
        };
        let positions = table_if(of.names.positions, of.positions)?;
        let types = table_if(of.names.types, of.types)?;
        let sizes = [of.width, spec.sizes.width];
        let name = format!("{base}{}", of.names.projection);
        let projection = match of.projection {
            None => None,
            Some(how) => Some((Dense::take(tensors, &[name], sizes, how.has_bias)?, how)),
        };
        let width = match of.projection {
            Some(how) if !how.is_before_norm => of.width,
            _ => spec.sizes.width,
        };
        let norm = format!("{base}{}", of.names.norm);
        Ok(Self {
            words,
            positions,
            padding: of.padding,
            types,
            projection,
            norm: take_norm(tensors, &norm, spec.norm_of(width))?,
        })
    }

    /// The vectors `[tokens, width]`.
    pub(crate) fn forward(&self, tokens: &TokenBatch) -> Result<Tensor> {
        let mut x = embedding(&tokens.ids, &self.words)?;
        if let Some(table) = &self.positions {
            let numbers = self.position_numbers(tokens)?;
            let numbers = Tensor::from_vec(numbers, x.dim(0)?, x.device())?;
            x = (x + embedding(&numbers, table)?)?;
        }
        x = match &self.types {
            None => x,
            Some(one) if one.dim(0)? == 1 => x.broadcast_add(one)?,
            Some(table) => (x + embedding(&tokens.types, table)?)?,
        };
        match &self.projection {
            None => self.norm.forward(&x),
            Some((layer, how)) if how.is_before_norm => self.norm.forward(&layer.forward(&x)?),
            Some((layer, _)) => layer.forward(&self.norm.forward(&x)?),
        }
    }

    fn position_numbers(&self, tokens: &TokenBatch) -> Result<Vec<u32>> {
        match self.padding {
            None => Ok(tokens.sequences.positions()),
            Some(padding) => {
                let ids: Vec<u32> = tokens.ids.to_vec1()?;
                Ok(behind_padding(&ids, padding, &tokens.sequences))
            }
        }
    }
}

/// Positions from the number behind that of the token that pads texts. Such a token in a text stays at its number, and does not count.
fn behind_padding(ids: &[u32], padding: u32, sequences: &Sequences) -> Vec<u32> {
    let mut numbers = Vec::with_capacity(ids.len());
    for range in sequences.ranges() {
        let mut last = padding;
        for id in &ids[range] {
            let counts = *id != padding;
            last += u32::from(counts);
            numbers.push(if counts { last } else { padding });
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_begin_behind_the_padding() {
        // `create_position_ids_from_input_ids` of transformers for the rows [0, 5, 1, 6] and [0, 2] with padding_idx 1.
        let sequences = Sequences::of_lengths([4, 2]);
        let numbers = behind_padding(&[0, 5, 1, 6, 0, 2], 1, &sequences);
        assert_eq!(numbers, [2, 3, 1, 4, 2, 3]);
    }
}
