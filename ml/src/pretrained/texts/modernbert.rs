//! ModernBERT: norms before layers, rotated queries and keys, gates, and layers in which a token sees only those near it.
//!
//! Warner et al., "Smarter, better, faster, longer: a modern bidirectional encoder for fast, memory efficient, and long context
//! finetuning and inference", 2024.

use super::family::{TextFamily, heads_of, vocabulary};
use super::spec::{
    AttentionSpec, Biases, EmbeddingNames, EmbeddingSpec, EncoderSpec, LayerNames, NormPlace,
    NormSpec, RotarySpec, TOKENS_MAX,
};
use super::tokens::files::Vocabulary;
use crate::pretrained::config::{Config, LAYERS_MAX, WIDTH_MAX};
use crate::pretrained::layers::activation_of;
use crate::pretrained::transformer::Sizes;
use crate::{Error, Result};

pub(crate) const MODERNBERT: TextFamily = TextFamily {
    model_type: "modernbert",
    architectures: &[
        "ModernBertModel",
        "ModernBertForSequenceClassification",
        "ModernBertForTokenClassification",
        "ModernBertForMaskedLM",
    ],
    bases: &["model."],
    spec,
    vocabulary: Vocabulary::None,
};

const EMBEDDING: EmbeddingNames = EmbeddingNames {
    words: "embeddings.tok_embeddings",
    positions: "",
    types: "",
    norm: "embeddings.norm",
    projection: "",
};

const LAYER: LayerNames = LayerNames {
    layers: "layers",
    projections: &["attn.Wqkv"],
    out: "attn.Wo",
    attention_norm: "attn_norm",
    first: &["mlp.Wi"],
    second: "mlp.Wo",
    perceptron_norm: "mlp_norm",
    last_norm: "final_norm",
};

/// Attention to a whole text.
const FULL: &str = "full_attention";
/// Attention to the tokens near a token.
const SLIDING: &str = "sliding_attention";

fn spec(config: &Config) -> Result<EncoderSpec> {
    let width = config.whole("hidden_size", Some(768), 1..=WIDTH_MAX)?;
    let layers = config.whole("num_hidden_layers", Some(22), 1..=LAYERS_MAX)?;
    let has_bias = |name: &str| config.flag(name, false);
    Ok(EncoderSpec {
        sizes: Sizes {
            width,
            wide: config.whole("intermediate_size", Some(1152), 1..=WIDTH_MAX)?,
            heads: heads_of(config, "num_attention_heads", (12, width))?,
            layers,
            activation: activation_of(config, "hidden_activation", "gelu")?,
            epsilon: config.epsilon("norm_eps", 1e-5)?,
        },
        embedding: EmbeddingSpec {
            names: EMBEDDING,
            vocabulary: vocabulary(config, 50_368)?,
            width,
            positions: 0,
            padding: None,
            types: 0,
            projection: None,
        },
        attention: AttentionSpec::Rotary(rotations(config, layers)?),
        is_gated: true,
        norms: NormSpec {
            place: NormPlace::Before,
            has_bias: has_bias("norm_bias")?,
        },
        biases: Biases {
            projections: has_bias("attention_bias")?,
            out: has_bias("attention_bias")?,
            perceptron: has_bias("mlp_bias")?,
        },
        names: LAYER,
    })
}

/// The rotation of each layer.
fn rotations(config: &Config, layers: usize) -> Result<Vec<RotarySpec>> {
    let tokens = config.whole("max_position_embeddings", Some(8192), 1..=TOKENS_MAX)?;
    let seen = config.whole("local_attention", Some(128), 2..=2 * TOKENS_MAX)?;
    let full = RotarySpec {
        base: base(config, FULL, ("global_rope_theta", 160_000.0))?,
        window: None,
        tokens,
    };
    let sliding = RotarySpec {
        base: base(config, SLIDING, ("local_rope_theta", 10_000.0))?,
        window: Some(seen / 2),
        tokens,
    };
    let Some(kinds) = config.texts("layer_types")? else {
        let every = config.whole("global_attn_every_n_layers", Some(3), 1..=LAYERS_MAX)?;
        let kinds = (0..layers).map(|layer| if layer % every == 0 { full } else { sliding });
        return Ok(kinds.collect());
    };
    if kinds.len() != layers {
        let what = format!("has {} entries, the model has {layers} layers", kinds.len());
        return Err(config.error("layer_types", what));
    }
    let kinds = kinds.iter().map(|kind| match kind.as_str() {
        FULL => Ok(full),
        SLIDING => Ok(sliding),
        other => {
            let what = format!("has \"{other}\"; expected {FULL} or {SLIDING}");
            Err(config.error("layer_types", what))
        }
    });
    kinds.collect()
}

/// The base of the angles of a kind of layers: in `rope_parameters`, or in a field of its own in older descriptions.
fn base(config: &Config, kind: &str, (older, default): (&str, f64)) -> Result<f64> {
    let mut base = config.number(older, default)?;
    let all = config.section_or_empty("rope_parameters")?;
    if let Some(own) = all.section(kind)? {
        own.require_text("rope_type", "default")?;
        base = own.number("rope_theta", base)?;
    }
    if config.get("rope_scaling").is_some() {
        let file = config.file();
        return Err(Error::Unsupported(format!(
            "{file}: rope_scaling is not supported"
        )));
    }
    match base > 1.0 {
        true => Ok(base),
        false => Err(config.error(older, format!("is {base}; expected a number above 1"))),
    }
}
