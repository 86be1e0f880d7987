//! DistilBERT: BERT with fewer layers, and without types of tokens.
//!
//! Sanh et al., "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter", 2019.

use super::bert::EMBEDDING;
use super::family::{TextFamily, heads_of, vocabulary};
use super::spec::{
    AttentionSpec, Biases, EmbeddingSpec, EncoderSpec, LayerNames, NormPlace, NormSpec, TOKENS_MAX,
};
use super::tokens::files::Vocabulary;
use super::tokens::vocabularies::Around;
use crate::Result;
use crate::pretrained::config::{Config, LAYERS_MAX, WIDTH_MAX};
use crate::pretrained::layers::activation_of;
use crate::pretrained::transformer::Sizes;

pub(crate) const DISTILBERT: TextFamily = TextFamily {
    model_type: "distilbert",
    architectures: &[
        "DistilBertModel",
        "DistilBertForSequenceClassification",
        "DistilBertForTokenClassification",
        "DistilBertForMaskedLM",
    ],
    bases: &["distilbert."],
    spec,
    vocabulary: Vocabulary::Words(Around::BERT),
};

const LAYER: LayerNames = LayerNames {
    layers: "transformer.layer",
    projections: &["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    out: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    first: &["ffn.lin1"],
    second: "ffn.lin2",
    perceptron_norm: "output_layer_norm",
    last_norm: "",
};

/// The number is not in descriptions.
const EPSILON: f64 = 1e-12;

fn spec(config: &Config) -> Result<EncoderSpec> {
    let width = config.whole("dim", Some(768), 1..=WIDTH_MAX)?;
    Ok(EncoderSpec {
        sizes: Sizes {
            width,
            wide: config.whole("hidden_dim", Some(3072), 1..=WIDTH_MAX)?,
            heads: heads_of(config, "n_heads", (12, width))?,
            layers: config.whole("n_layers", Some(6), 1..=LAYERS_MAX)?,
            activation: activation_of(config, "activation", "gelu")?,
            epsilon: EPSILON,
        },
        embedding: EmbeddingSpec {
            names: EMBEDDING,
            vocabulary: vocabulary(config, 30_522)?,
            width,
            positions: config.whole("max_position_embeddings", Some(512), 1..=TOKENS_MAX)?,
            padding: None,
            types: 0,
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
