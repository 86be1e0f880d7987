//! [`Design`]: what makes a decoder one of a family, as data; [`Names`]: the names of its tensors in a file.

use super::attention::Heads;
use super::rope::Rope;
use crate::nn::Pointwise;

/// A decoder of any family.
#[derive(Debug)]
pub(super) struct Design {
    /// The number of different tokens.
    pub(super) vocabulary: usize,
    /// The numbers of a vector between layers.
    pub(super) width: usize,
    /// The numbers of a vector within a perceptron.
    pub(super) wide: usize,
    pub(super) heads: Heads,
    /// The most tokens of a text.
    pub(super) positions_max: usize,
    /// Added to a mean square before its root.
    pub(super) epsilon: f32,
    /// Added to the weights of norms.
    pub(super) norm_offset: f32,
    pub(super) activation: Pointwise,
    /// The factor of the vectors of tokens.
    pub(super) embedding_scale: f32,
    /// The bound of the scores of tokens: c tanh (score / c).
    pub(super) cap: Option<f32>,
    pub(super) parts: Parts,
    pub(super) ropes: Vec<Rope>,
    /// The layers from the first to the last.
    pub(super) layers: Vec<LayerDesign>,
}

/// The parts that not every decoder has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Parts {
    /// A bias of queries, keys and values.
    pub(super) query_bias: bool,
    /// A bias after attention.
    pub(super) output_bias: bool,
    /// A bias in perceptrons.
    pub(super) perceptron_bias: bool,
    /// Norms of the heads of queries and keys.
    pub(super) head_norms: bool,
    /// Norms after attention and after a perceptron, before their results are added.
    pub(super) outer_norms: bool,
    /// One matrix for queries, keys and values, and one for the two inner vectors of a perceptron.
    pub(super) fused: bool,
    /// No matrix of its own after the last layer: that of the vectors of tokens.
    pub(super) tied: bool,
}

/// How a layer differs from others.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerDesign {
    /// The tokens that a token sees, itself among them; all before it if `None`.
    pub(super) window: Option<usize>,
    /// The position of its turns in [`Design::ropes`].
    pub(super) rope: usize,
}

/// The names of tensors, without `.weight` and `.bias`. Those of a layer follow [`Names::layer`], the number of the layer and a
/// point.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) embedding: &'static str,
    pub(super) last_norm: &'static str,
    pub(super) head: &'static str,
    pub(super) layer: &'static str,
    pub(super) attention_norm: &'static str,
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    /// The one matrix of queries, keys and values.
    pub(super) queries_keys_values: &'static str,
    pub(super) query_norm: &'static str,
    pub(super) key_norm: &'static str,
    pub(super) output: &'static str,
    pub(super) after_attention_norm: &'static str,
    pub(super) perceptron_norm: &'static str,
    pub(super) gate: &'static str,
    pub(super) up: &'static str,
    /// The one matrix of gates and inner vectors.
    pub(super) gate_and_up: &'static str,
    pub(super) down: &'static str,
    pub(super) after_perceptron_norm: &'static str,
}

impl Names {
    /// The names of Hugging Face.
    pub(super) const HUGGING_FACE: Self = Self {
        embedding: "model.embed_tokens",
        last_norm: "model.norm",
        head: "lm_head",
        layer: "model.layers.",
        attention_norm: "input_layernorm",
        query: "self_attn.q_proj",
        key: "self_attn.k_proj",
        value: "self_attn.v_proj",
        queries_keys_values: "self_attn.qkv_proj",
        query_norm: "self_attn.q_norm",
        key_norm: "self_attn.k_norm",
        output: "self_attn.o_proj",
        after_attention_norm: "",
        perceptron_norm: "post_attention_layernorm",
        gate: "mlp.gate_proj",
        up: "mlp.up_proj",
        gate_and_up: "mlp.gate_up_proj",
        down: "mlp.down_proj",
        after_perceptron_norm: "",
    };

    /// The names of Hugging Face where there are norms after attention and perceptrons.
    pub(super) const WITH_OUTER_NORMS: Self = Self {
        after_attention_norm: "post_attention_layernorm",
        perceptron_norm: "pre_feedforward_layernorm",
        after_perceptron_norm: "post_feedforward_layernorm",
        ..Self::HUGGING_FACE
    };

    /// The names of GGUF.
    pub(super) const GGUF: Self = Self {
        embedding: "token_embd",
        last_norm: "output_norm",
        head: "output",
        layer: "blk.",
        attention_norm: "attn_norm",
        query: "attn_q",
        key: "attn_k",
        value: "attn_v",
        queries_keys_values: "attn_qkv",
        query_norm: "attn_q_norm",
        key_norm: "attn_k_norm",
        output: "attn_output",
        after_attention_norm: "post_attention_norm",
        perceptron_norm: "ffn_norm",
        gate: "ffn_gate",
        up: "ffn_up",
        // The name of the inner vectors alone, too.
        gate_and_up: "ffn_up",
        down: "ffn_down",
        after_perceptron_norm: "post_ffw_norm",
    };
}
