//! [`EncoderSpec`]: what an encoder is made of, apart from its tensors. A family reads it from a description; the names of its layers
//! are data.

use crate::nn::Pointwise;
use crate::pretrained::transformer::Sizes;

/// The most tokens of a text.
pub(crate) const TOKENS_MAX: usize = 1 << 15;

/// The architecture of an encoder.
#[derive(Debug, Clone)]
pub(crate) struct EncoderSpec {
    pub(crate) sizes: Sizes,
    pub(crate) embedding: EmbeddingSpec,
    pub(crate) attention: AttentionSpec,
    /// Whether the outputs of the activation are multiplied by as many other outputs of the first layer.
    pub(crate) is_gated: bool,
    pub(crate) norms: NormSpec,
    pub(crate) biases: Biases,
    pub(crate) names: LayerNames,
}

impl EncoderSpec {
    /// A norm of vectors of this width: the width, what is added to a variance, and whether it has a bias.
    pub(crate) fn norm_of(&self, width: usize) -> (usize, f64, bool) {
        (width, self.sizes.epsilon, self.norms.has_bias)
    }

    /// The most tokens of a text for which there are positions.
    pub(crate) fn tokens_max(&self) -> usize {
        let of_table = match (self.embedding.positions, self.embedding.padding) {
            (0, _) => TOKENS_MAX,
            (positions, None) => positions,
            (positions, Some(padding)) => positions.saturating_sub(padding as usize + 1),
        };
        let of_layers = match &self.attention {
            AttentionSpec::Rotary(layers) => layers.iter().map(|layer| layer.tokens).min(),
            AttentionSpec::Plain | AttentionSpec::Buckets(_) | AttentionSpec::Disentangled(_) => {
                None
            }
        };
        of_table.min(of_layers.unwrap_or(TOKENS_MAX))
    }
}

/// The vectors of tokens before the first layer.
#[derive(Debug, Clone)]
pub(crate) struct EmbeddingSpec {
    pub(crate) names: EmbeddingNames,
    pub(crate) vocabulary: usize,
    /// The width of the vectors of tokens.
    pub(crate) width: usize,
    /// The vectors of positions; 0 if there are none.
    pub(crate) positions: usize,
    /// The number of the token that pads texts, in families that count positions from the number behind it.
    pub(crate) padding: Option<u32>,
    /// The vectors of types of tokens; 0 if there are none.
    pub(crate) types: usize,
    /// The layer from the width of tokens to that of the encoder, if they differ.
    pub(crate) projection: Option<Projection>,
}

/// A linear layer from the vectors of tokens to those of the encoder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Projection {
    pub(crate) has_bias: bool,
    /// Whether it comes before the norm.
    pub(crate) is_before_norm: bool,
}

/// How tokens attend to each other.
#[derive(Debug, Clone)]
pub(crate) enum AttentionSpec {
    /// To all of their text.
    Plain,
    /// To all of their text, with a number for each distance: in buckets, which grow with the distance.
    Buckets(BucketSpec),
    /// With queries and keys that are rotated by their positions; one entry a layer.
    Rotary(Vec<RotarySpec>),
    /// Also by vectors of distances.
    Disentangled(DisentangledSpec),
}

/// The buckets of distances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BucketSpec {
    /// The name of the table, without that of the encoder.
    pub(crate) name: &'static str,
    /// The rows of the table.
    pub(crate) rows: usize,
    /// The most tokens of a text.
    pub(crate) tokens: usize,
}

/// The rotation of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RotarySpec {
    pub(crate) base: f64,
    /// A token sees those up to this distance on each side.
    pub(crate) window: Option<usize>,
    /// The most tokens of a text.
    pub(crate) tokens: usize,
}

/// Attention by vectors of distances, as in DeBERTa.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DisentangledSpec {
    /// The vectors of distances on one side.
    pub(crate) span: usize,
    /// The distances on one side that have buckets, and the distance of the last one; without buckets, each has its own vector.
    pub(crate) buckets: Option<[usize; 2]>,
    /// Whether contents find positions.
    pub(crate) has_keys: bool,
    /// Whether positions find contents.
    pub(crate) has_queries: bool,
    /// Whether distances go through the layers of tokens.
    pub(crate) is_shared: bool,
    /// Whether the vectors of distances are normalised.
    pub(crate) is_normal: bool,
    /// The convolution beside the first layer.
    pub(crate) convolution: Option<ConvolutionSpec>,
}

/// A convolution over the tokens of a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvolutionSpec {
    pub(crate) kernel: usize,
    pub(crate) groups: usize,
    pub(crate) activation: Pointwise,
}

/// Where norms are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormSpec {
    pub(crate) place: NormPlace,
    pub(crate) has_bias: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormPlace {
    /// After the sum of what goes into a part of a layer and what comes out of it.
    After,
    /// Before each part of a layer but the first of all, and after the last.
    Before,
}

/// Which linear layers have a bias.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Biases {
    pub(crate) projections: bool,
    pub(crate) out: bool,
    pub(crate) perceptron: bool,
}

impl Biases {
    pub(crate) const ALL: Self = Self {
        projections: true,
        out: true,
        perceptron: true,
    };
}

/// The names of the tables and layers before the first layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EmbeddingNames {
    pub(crate) words: &'static str,
    pub(crate) positions: &'static str,
    pub(crate) types: &'static str,
    pub(crate) norm: &'static str,
    pub(crate) projection: &'static str,
}

/// The names of the parts of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerNames {
    /// Before the number of a layer.
    pub(crate) layers: &'static str,
    /// Queries, keys and values: three layers, or one for all.
    pub(crate) projections: &'static [&'static str],
    pub(crate) out: &'static str,
    pub(crate) attention_norm: &'static str,
    /// The first layer of the perceptron; with gates, the layer of the activation and that of the gates, or one for both.
    pub(crate) first: &'static [&'static str],
    pub(crate) second: &'static str,
    pub(crate) perceptron_norm: &'static str,
    /// After the last layer, if norms are before layers.
    pub(crate) last_norm: &'static str,
}
