//! What the towers of CLIP and SigLIP share: the names of their layers, and the embedding of tokens.

use candle_core::Tensor;

use super::builder::Builder;
use super::config::{Config, WIDTH_MAX};
use super::transformer::{Block, BlockNames, Projections, Sizes};
use crate::Result;
use crate::nn::embedding;

/// The most tokens of a vocabulary.
const VOCABULARY_MAX: usize = 1 << 21;
/// The most tokens of a text.
const TOKENS_MAX: usize = 1 << 13;

/// The tensors of the tower of images.
pub(super) const IMAGES: &str = "vision_model.";
/// The tensors of the tower of texts.
pub(super) const TEXTS: &str = "text_model.";

/// Whether a tensor counts positions, which needs no tensor.
pub(super) fn is_counter(name: &str) -> bool {
    name.ends_with(".position_ids")
}

/// The layers of a tower over `tokens` tokens.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) for weights that do not fit.
pub(super) fn take_blocks(
    builder: &mut Builder<'_>,
    tower: &str,
    sizes: &Sizes,
    tokens: usize,
) -> Result<Vec<Block>> {
    let mut blocks = vec![];
    for number in 0..sizes.layers {
        let layer = |layer: &str| format!("{tower}encoder.layers.{number}.{layer}");
        let of_attention = |name: &str| layer(&format!("self_attn.{name}_proj"));
        let names = BlockNames {
            before_attention: layer("layer_norm1"),
            projections: Projections::Three(["q", "k", "v"].map(of_attention)),
            out: of_attention("out"),
            before_perceptron: layer("layer_norm2"),
            first: layer("mlp.fc1"),
            second: layer("mlp.fc2"),
        };
        blocks.push(Block::take(builder, &names, sizes, (true, tokens))?);
    }
    Ok(blocks)
}

/// The vectors of tokens, and those of their positions.
#[derive(Debug)]
pub(super) struct TokenEmbedding {
    /// `[vocabulary, width]`
    tokens: Tensor,
    /// `[positions, width]`
    positions: Tensor,
}

/// The sizes of the input of a tower of texts.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextSizes {
    pub(super) vocabulary: usize,
    /// The most tokens of a text.
    pub(super) tokens: usize,
}

impl TextSizes {
    /// The sizes in a description, with these defaults.
    pub(super) fn of(config: &Config, [vocabulary, tokens]: [usize; 2]) -> Result<Self> {
        Ok(Self {
            vocabulary: config.whole("vocab_size", Some(vocabulary), 1..=VOCABULARY_MAX)?,
            tokens: config.whole("max_position_embeddings", Some(tokens), 1..=TOKENS_MAX)?,
        })
    }
}

impl TokenEmbedding {
    pub(super) fn take(builder: &mut Builder<'_>, sizes: TextSizes, width: usize) -> Result<Self> {
        let mut take = |name: &str, count: usize| -> Result<Tensor> {
            let name = format!("{TEXTS}embeddings.{name}_embedding.weight");
            let values = builder.weights.take(&name, &[count, width])?;
            Ok(Tensor::from_vec(values, (count, width), builder.device())?)
        };
        Ok(Self {
            tokens: take("token", sizes.vocabulary)?,
            positions: take("position", sizes.tokens)?,
        })
    }

    /// The vectors `[rows, tokens, width]` of `tokens` `[rows, tokens]`.
    pub(super) fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let (rows, count) = tokens.dims2()?;
        let vectors = embedding(&tokens.flatten_all()?, &self.tokens)?;
        let vectors = vectors.reshape((rows, count, self.tokens.dim(1)?))?;
        let positions = self.positions.narrow(0, 0, count)?.unsqueeze(0)?;
        Ok(vectors.broadcast_add(&positions)?)
    }
}

/// The last vector of each row of `x` `[rows, tokens, width]` whose rows have these lengths: `[rows, width]`.
pub(super) fn last_of_each(x: &Tensor, lengths: &Tensor) -> Result<Tensor> {
    let (rows, tokens, width) = x.dims3()?;
    let lengths: Vec<u32> = lengths.to_vec1()?;
    let places = (0..)
        .zip(lengths)
        .map(|(row, length): (u32, u32)| row * tokens as u32 + length - 1);
    let places = Tensor::from_vec(places.collect::<Vec<u32>>(), rows, x.device())?;
    let vectors = x.reshape((rows * tokens, width))?;
    Ok(vectors.contiguous()?.index_select(&places, 0)?)
}

/// The width of the vectors that both towers give.
pub(super) fn projection(config: &Config, name: &str, default: usize) -> Result<usize> {
    config.whole(name, Some(default), 1..=WIDTH_MAX)
}
