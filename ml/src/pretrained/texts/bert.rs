//! BERT, and the families with its layers: RoBERTa, XLM-RoBERTa, CamemBERT and ELECTRA.
//!
//! Devlin et al., "BERT: Pre-training of deep bidirectional transformers for language understanding", 2019; Liu et al., "RoBERTa: A
//! robustly optimized BERT pretraining approach", 2019; Clark et al., "ELECTRA: Pre-training text encoders as discriminators rather
//! than generators", 2020.

use super::family::{TYPES_MAX, TextFamily, heads_of, vocabulary};
use super::spec::{
    AttentionSpec, Biases, EmbeddingNames, EmbeddingSpec, EncoderSpec, LayerNames, NormPlace,
    NormSpec, Projection, TOKENS_MAX,
};
use super::tokens::files::Vocabulary;
use super::tokens::sentence_pieces::Places;
use super::tokens::vocabularies::Around;
use crate::Result;
use crate::pretrained::config::{Config, LAYERS_MAX, WIDTH_MAX};
use crate::pretrained::layers::activation;
use crate::pretrained::transformer::Sizes;

pub(crate) const BERT: TextFamily = TextFamily {
    model_type: "bert",
    architectures: &[
        "BertModel",
        "BertForPreTraining",
        "BertForSequenceClassification",
        "BertForTokenClassification",
        "BertForMaskedLM",
    ],
    bases: &["bert."],
    spec: bert,
    vocabulary: Vocabulary::Words(Around::BERT),
};

pub(crate) const ROBERTA: TextFamily = TextFamily {
    model_type: "roberta",
    architectures: &[
        "RobertaModel",
        "RobertaForSequenceClassification",
        "RobertaForTokenClassification",
        "RobertaForMaskedLM",
    ],
    bases: &["roberta."],
    spec: roberta,
    vocabulary: Vocabulary::Pairs(Around::ROBERTA),
};

pub(crate) const XLM_ROBERTA: TextFamily = TextFamily {
    model_type: "xlm-roberta",
    architectures: &[
        "XLMRobertaModel",
        "XLMRobertaForSequenceClassification",
        "XLMRobertaForTokenClassification",
        "XLMRobertaForMaskedLM",
    ],
    bases: &["roberta."],
    spec: roberta,
    vocabulary: Vocabulary::Pieces(Around::ROBERTA, Places::XlmRoberta),
};

pub(crate) const CAMEMBERT: TextFamily = TextFamily {
    model_type: "camembert",
    architectures: &[
        "CamembertModel",
        "CamembertForSequenceClassification",
        "CamembertForTokenClassification",
        "CamembertForMaskedLM",
    ],
    bases: &["roberta."],
    spec: roberta,
    vocabulary: Vocabulary::Pieces(Around::ROBERTA, Places::Camembert),
};

pub(crate) const ELECTRA: TextFamily = TextFamily {
    model_type: "electra",
    architectures: &[
        "ElectraModel",
        "ElectraForPreTraining",
        "ElectraForSequenceClassification",
        "ElectraForTokenClassification",
        "ElectraForMaskedLM",
    ],
    bases: &["electra."],
    spec: electra,
    vocabulary: Vocabulary::Words(Around::BERT),
};

/// The names of the tables, which other families have, too.
pub(super) const EMBEDDING: EmbeddingNames = EmbeddingNames {
    words: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    types: "embeddings.token_type_embeddings",
    norm: "embeddings.LayerNorm",
    projection: "embeddings_project",
};

/// The names of the parts of a layer.
pub(super) const LAYER: LayerNames = LayerNames {
    layers: "encoder.layer",
    projections: &[
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
    ],
    out: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    first: &["intermediate.dense"],
    second: "output.dense",
    perceptron_norm: "output.LayerNorm",
    last_norm: "",
};

/// The sizes in a description, with these defaults of the width, of that between the layers of a perceptron, and of the heads.
pub(super) fn sizes(config: &Config, [width, wide, heads]: [usize; 3]) -> Result<Sizes> {
    let width = config.whole("hidden_size", Some(width), 1..=WIDTH_MAX)?;
    Ok(Sizes {
        width,
        wide: config.whole("intermediate_size", Some(wide), 1..=WIDTH_MAX)?,
        heads: heads_of(config, "num_attention_heads", (heads, width))?,
        layers: config.whole("num_hidden_layers", Some(12), 1..=LAYERS_MAX)?,
        activation: activation(config, "gelu")?,
        epsilon: config.epsilon("layer_norm_eps", 1e-12)?,
    })
}

/// An encoder with the layers of BERT.
pub(super) fn bert(config: &Config) -> Result<EncoderSpec> {
    with_defaults(config, [768, 3072, 12])
}

fn with_defaults(config: &Config, defaults: [usize; 3]) -> Result<EncoderSpec> {
    for flag in ["is_decoder", "add_cross_attention"] {
        config.require_flag(flag, false)?;
    }
    config.require_text("position_embedding_type", "absolute")?;
    let sizes = sizes(config, defaults)?;
    Ok(EncoderSpec {
        sizes,
        embedding: EmbeddingSpec {
            names: EMBEDDING,
            vocabulary: vocabulary(config, 30_522)?,
            width: sizes.width,
            positions: config.whole("max_position_embeddings", Some(512), 1..=TOKENS_MAX)?,
            padding: None,
            types: config.whole("type_vocab_size", Some(2), 1..=TYPES_MAX)?,
            projection: None,
        },
        attention: AttentionSpec::Plain,
        is_gated: false,
        norms: NormSpec {
            place: NormPlace::After,
            has_bias: true,
        },
        biases: Biases::ALL,
        names: LAYER,
    })
}

/// BERT with positions from the number behind that of the token that pads texts.
fn roberta(config: &Config) -> Result<EncoderSpec> {
    let mut spec = bert(config)?;
    let padding = config.whole("pad_token_id", Some(1), 0..=spec.embedding.vocabulary - 1)?;
    spec.embedding.padding = Some(padding as u32);
    Ok(spec)
}

/// BERT with narrower vectors of tokens.
fn electra(config: &Config) -> Result<EncoderSpec> {
    let mut spec = with_defaults(config, [256, 1024, 4])?;
    let width = config.whole("embedding_size", Some(128), 1..=WIDTH_MAX)?;
    spec.embedding.width = width;
    spec.embedding.projection = (width != spec.sizes.width).then_some(Projection {
        has_bias: true,
        is_before_norm: false,
    });
    Ok(spec)
}
