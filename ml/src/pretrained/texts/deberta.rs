//! DeBERTa v2 and v3: BERT with vectors for the distances between tokens.
//!
//! He et al., "DeBERTaV3: Improving DeBERTa using ELECTRA-style pre-training with gradient-disentangled embedding sharing", 2023.

use super::bert::{EMBEDDING, LAYER, sizes};
use super::family::{TYPES_MAX, TextFamily, vocabulary};
use super::spec::{
    AttentionSpec, Biases, ConvolutionSpec, DisentangledSpec, EmbeddingNames, EmbeddingSpec,
    EncoderSpec, LayerNames, NormPlace, NormSpec, Projection, TOKENS_MAX,
};
use super::tokens::files::Vocabulary;
use super::tokens::sentence_pieces::Places;
use super::tokens::vocabularies::Around;
use crate::pretrained::config::{Config, WIDTH_MAX};
use crate::pretrained::layers::activation_of;
use crate::{Error, Result};

pub(crate) const DEBERTA: TextFamily = TextFamily {
    model_type: "deberta-v2",
    architectures: &[
        "DebertaV2Model",
        "DebertaV2ForSequenceClassification",
        "DebertaV2ForTokenClassification",
        "DebertaV2ForMaskedLM",
    ],
    bases: &["deberta."],
    spec,
    vocabulary: Vocabulary::Pieces(Around::BERT, Places::AsStored),
};

const NAMES: EmbeddingNames = EmbeddingNames {
    projection: "embeddings.embed_proj",
    ..EMBEDDING
};

const LAYERS: LayerNames = LayerNames {
    projections: &[
        "attention.self.query_proj",
        "attention.self.key_proj",
        "attention.self.value_proj",
    ],
    ..LAYER
};

/// The widest kernel of a convolution over tokens.
const KERNEL_MAX: usize = 31;

fn spec(config: &Config) -> Result<EncoderSpec> {
    let sizes = sizes(config, [1536, 6144, 24])?;
    let width = config.whole("embedding_size", Some(sizes.width), 1..=WIDTH_MAX)?;
    let positions = config.whole("max_position_embeddings", Some(512), 1..=TOKENS_MAX)?;
    let head_width = sizes.width / sizes.heads;
    if config.whole("attention_head_size", Some(head_width), 1..=WIDTH_MAX)? != head_width {
        let what = format!("is not the width {} divided by the heads", sizes.width);
        return Err(config.error("attention_head_size", what));
    }
    Ok(EncoderSpec {
        sizes,
        embedding: EmbeddingSpec {
            names: NAMES,
            vocabulary: vocabulary(config, 128_100)?,
            width,
            positions: match config.flag("position_biased_input", true)? {
                true => positions,
                false => 0,
            },
            padding: None,
            types: config.whole("type_vocab_size", Some(0), 0..=TYPES_MAX)?,
            projection: (width != sizes.width).then_some(Projection {
                has_bias: false,
                is_before_norm: true,
            }),
        },
        attention: match config.flag("relative_attention", false)? {
            true => AttentionSpec::Disentangled(distances(config, positions)?),
            false => {
                check_plain(config)?;
                AttentionSpec::Plain
            }
        },
        is_gated: false,
        norms: NormSpec {
            place: NormPlace::After,
            has_bias: true,
        },
        biases: Biases::ALL,
        names: LAYERS,
    })
}

/// Refuses what only attention by distances has.
fn check_plain(config: &Config) -> Result<()> {
    let has_kinds = config
        .texts("pos_att_type")?
        .is_some_and(|kinds| !kinds.is_empty());
    let has_convolution = config.whole("conv_kernel_size", Some(0), 0..=KERNEL_MAX)? > 0;
    match has_kinds || has_convolution {
        false => Ok(()),
        true => Err(Error::Unsupported(format!(
            "{}: pos_att_type or conv_kernel_size without relative_attention is not supported",
            config.file()
        ))),
    }
}

fn distances(config: &Config, positions: usize) -> Result<DisentangledSpec> {
    let kinds = config.texts("pos_att_type")?.unwrap_or_default();
    // One text has all kinds in descriptions of the first models.
    let kinds: Vec<&str> = kinds.iter().flat_map(|kinds| kinds.split('|')).collect();
    let kinds: Vec<&str> = kinds.into_iter().map(str::trim).collect();
    if let Some(other) = kinds.iter().find(|kind| !["c2p", "p2c"].contains(kind)) {
        return Err(Error::Unsupported(format!(
            "{}: pos_att_type \"{other}\" is not supported; c2p and p2c are",
            config.file()
        )));
    }
    let farthest =
        some_above_zero(config, "max_relative_positions", TOKENS_MAX)?.unwrap_or(positions);
    let buckets = some_above_zero(config, "position_buckets", TOKENS_MAX)?;
    if let Some(count) = buckets.filter(|count| *count < 4 || farthest < *count / 2 + 2) {
        let what = format!("is {count}, which does not fit {farthest} relative positions");
        return Err(config.error("position_buckets", what));
    }
    let norms = config
        .text("norm_rel_ebd")?
        .unwrap_or("none")
        .to_lowercase();
    Ok(DisentangledSpec {
        span: buckets.unwrap_or(farthest),
        buckets: buckets.map(|buckets| [buckets, farthest]),
        has_keys: kinds.contains(&"c2p"),
        has_queries: kinds.contains(&"p2c"),
        is_shared: config.flag("share_att_key", false)?,
        is_normal: norms.split('|').any(|norm| norm.trim() == "layer_norm"),
        convolution: convolution(config)?,
    })
}

/// The number of this name, unless there is none: then it is missing, or below 1.
fn some_above_zero(config: &Config, name: &str, most: usize) -> Result<Option<usize>> {
    match config.number(name, -1.0)? < 1.0 {
        true => Ok(None),
        false => config.whole(name, None, 1..=most).map(Some),
    }
}

fn convolution(config: &Config) -> Result<Option<ConvolutionSpec>> {
    let kernel = config.whole("conv_kernel_size", Some(0), 0..=KERNEL_MAX)?;
    if kernel == 0 {
        return Ok(None);
    }
    let width = config.whole("hidden_size", Some(1536), 1..=WIDTH_MAX)?;
    let groups = config.whole("conv_groups", Some(1), 1..=width)?;
    if kernel.is_multiple_of(2) || !width.is_multiple_of(groups) {
        let what = format!("is {kernel} with {groups} groups, which do not fit the width {width}");
        return Err(config.error("conv_kernel_size", what));
    }
    Ok(Some(ConvolutionSpec {
        kernel,
        groups,
        activation: activation_of(config, "conv_act", "tanh")?,
    }))
}
