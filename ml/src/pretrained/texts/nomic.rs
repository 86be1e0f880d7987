//! NomicBERT: BERT with rotated queries and keys in place of positions, and gates. The hub's files have names of GPT-2 in their
//! description, those of transformers its own names.
//!
//! Nussbaum et al., "Nomic embed: training a reproducible long context text embedder", 2024.

use super::family::{TYPES_MAX, TextFamily, heads_of, vocabulary};
use super::spec::{
    AttentionSpec, Biases, EmbeddingNames, EmbeddingSpec, EncoderSpec, LayerNames, NormPlace,
    NormSpec, RotarySpec, TOKENS_MAX,
};
use super::tokens::files::Vocabulary;
use super::tokens::vocabularies::Around;
use crate::nn::Pointwise;
use crate::pretrained::config::{Config, LAYERS_MAX, WIDTH_MAX};
use crate::pretrained::layers::activation;
use crate::pretrained::transformer::Sizes;
use crate::{Error, Result};

pub(crate) const NOMIC: TextFamily = TextFamily {
    model_type: "nomic_bert",
    architectures: &[
        "NomicBertModel",
        "NomicBertForSequenceClassification",
        "NomicBertForTokenClassification",
        "NomicBertForMaskedLM",
    ],
    bases: &["bert.", "nomic_bert."],
    spec,
    vocabulary: Vocabulary::Words(Around::BERT),
};

const EMBEDDING: EmbeddingNames = EmbeddingNames {
    words: "embeddings.word_embeddings",
    positions: "",
    types: "embeddings.token_type_embeddings",
    norm: "emb_ln",
    projection: "",
};

const LAYER: LayerNames = LayerNames {
    layers: "encoder.layers",
    projections: &["attn.Wqkv"],
    out: "attn.out_proj",
    attention_norm: "norm1",
    // The layer of the activation is the second of both.
    first: &["mlp.fc12", "mlp.fc11"],
    second: "mlp.fc2",
    perceptron_norm: "norm2",
    last_norm: "",
};

/// The number of either name: that of the hub, or that of transformers.
fn either(config: &Config, names: [&str; 2], default: usize, most: usize) -> Result<usize> {
    let [hub, own] = names;
    let name = if config.get(hub).is_some() { hub } else { own };
    config.whole(name, Some(default), 1..=most)
}

fn spec(config: &Config) -> Result<EncoderSpec> {
    check_flags(config)?;
    let width = either(config, ["n_embd", "hidden_size"], 768, WIDTH_MAX)?;
    let layers = either(config, ["n_layer", "num_hidden_layers"], 12, LAYERS_MAX)?;
    let heads = match config.get("n_head") {
        Some(_) => heads_of(config, "n_head", (12, width))?,
        None => heads_of(config, "num_attention_heads", (12, width))?,
    };
    if config.whole("head_dim", Some(width / heads), 1..=WIDTH_MAX)? != width / heads {
        let what = format!("is not the width {width} divided by {heads} heads");
        return Err(config.error("head_dim", what));
    }
    let epsilon = config.epsilon("layer_norm_epsilon", 1e-12)?;
    let rotation = RotarySpec {
        base: base(config)?,
        window: None,
        tokens: tokens(config)?,
    };
    let has_bias = |name: &str| config.flag(name, false);
    Ok(EncoderSpec {
        sizes: Sizes {
            width,
            wide: either(
                config,
                ["n_inner", "intermediate_size"],
                4 * width,
                WIDTH_MAX,
            )?,
            heads,
            layers,
            activation: gated_activation(config)?,
            epsilon: config.epsilon("layer_norm_eps", epsilon)?,
        },
        embedding: EmbeddingSpec {
            names: EMBEDDING,
            vocabulary: vocabulary(config, 30_528)?,
            width,
            positions: 0,
            padding: None,
            types: config.whole("type_vocab_size", Some(2), 0..=TYPES_MAX)?,
            projection: None,
        },
        attention: AttentionSpec::Rotary(vec![rotation; layers]),
        is_gated: true,
        norms: NormSpec {
            place: NormPlace::After,
            has_bias: true,
        },
        biases: Biases {
            projections: has_bias("qkv_proj_bias")?,
            out: has_bias("qkv_proj_bias")?,
            perceptron: has_bias("mlp_fc1_bias")?,
        },
        names: LAYER,
    })
}

/// Refuses what the layers do not compute.
fn check_flags(config: &Config) -> Result<()> {
    for (name, wanted) in [
        ("causal", false),
        ("parallel_block", false),
        ("prenorm", false),
        ("rotary_emb_interleaved", false),
        ("scale_attn_by_inverse_layer_idx", false),
        ("scale_attn_weights", true),
        ("use_rms_norm", false),
    ] {
        if config.get(name).is_some() {
            config.require_flag(name, wanted)?;
        }
    }
    let refused = |name: &str| {
        let (file, value) = (config.file(), config.get(name));
        let value = value.map_or(String::new(), ToString::to_string);
        Error::Unsupported(format!("{file}: {name} {value} is not supported"))
    };
    if config.number("rotary_emb_fraction", 1.0)? != 1.0 {
        return Err(refused("rotary_emb_fraction"));
    }
    let has_experts = config.whole("moe_every_n_layers", Some(0), 0..=LAYERS_MAX)? > 0;
    for (name, is_there) in [
        ("moe_every_n_layers", has_experts),
        (
            "rotary_emb_scale_base",
            config.get("rotary_emb_scale_base").is_some(),
        ),
    ] {
        if is_there {
            return Err(refused(name));
        }
    }
    if config.flag("mlp_fc1_bias", false)? != config.flag("mlp_fc2_bias", false)? {
        return Err(refused("mlp_fc2_bias"));
    }
    Ok(())
}

/// The activation of the gates.
fn gated_activation(config: &Config) -> Result<Pointwise> {
    match config.text("activation_function")? {
        None => activation(config, "silu"),
        Some("swiglu") => Ok(Pointwise::Silu),
        Some("geglu") => Ok(Pointwise::Gelu),
        Some("glu") => Ok(Pointwise::Sigmoid),
        Some(other) => Err(Error::Unsupported(format!(
            "{}: activation_function \"{other}\" is not supported; swiglu, geglu and glu are",
            config.file()
        ))),
    }
}

/// The base of the angles.
fn base(config: &Config) -> Result<f64> {
    let rope = config.section_or_empty("rope_parameters")?;
    rope.require_text("rope_type", "default")?;
    let base = config.number("rotary_emb_base", 1000.0)?;
    let base = rope.number("rope_theta", base)?;
    match base > 1.0 {
        true => Ok(base),
        false => {
            let what = format!("is {base}; expected a number above 1");
            Err(config.error("rotary_emb_base", what))
        }
    }
}

/// The most tokens of a text. Those beyond the positions of the training would have other angles, which depend on the text's length.
fn tokens(config: &Config) -> Result<usize> {
    let names = ["n_positions", "max_position_embeddings"];
    let tokens = either(config, names, 2048, TOKENS_MAX)?;
    match config.get("rotary_scaling_factor") {
        None => Ok(tokens),
        Some(_) => config.whole("max_trained_positions", Some(2048), 1..=tokens),
    }
}
