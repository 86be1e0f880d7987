//! MPNet: BERT whose attention adds a number for each distance to its scores.
//!
//! Song et al., "MPNet: masked and permuted pre-training for language understanding", 2020.

use super::bert::bert;
use super::buckets::BUCKETS;
use super::family::TextFamily;
use super::spec::{AttentionSpec, BucketSpec, EncoderSpec, LayerNames};
use super::tokens::files::Vocabulary;
use super::tokens::vocabularies::Around;
use crate::Result;
use crate::pretrained::config::Config;

pub(crate) const MPNET: TextFamily = TextFamily {
    model_type: "mpnet",
    architectures: &[
        "MPNetModel",
        "MPNetForSequenceClassification",
        "MPNetForTokenClassification",
        "MPNetForMaskedLM",
    ],
    bases: &["mpnet."],
    spec,
    vocabulary: Vocabulary::Words(Around::MPNET),
};

const LAYER: LayerNames = LayerNames {
    layers: "encoder.layer",
    projections: &["attention.attn.q", "attention.attn.k", "attention.attn.v"],
    out: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    first: &["intermediate.dense"],
    second: "output.dense",
    perceptron_norm: "output.LayerNorm",
    last_norm: "",
};

/// The number of the token that pads texts, whatever a description says.
const PADDING: u32 = 1;
/// The most rows of the table of distances.
const ROWS_MAX: usize = 1 << 10;

fn spec(config: &Config) -> Result<EncoderSpec> {
    let field = "relative_attention_num_buckets";
    let mut spec = bert(config)?;
    spec.embedding.padding = Some(PADDING);
    spec.embedding.types = 0;
    spec.attention = AttentionSpec::Buckets(BucketSpec {
        name: "encoder.relative_attention_bias",
        // Rows beyond the buckets have no distance.
        rows: config.whole(field, Some(BUCKETS), BUCKETS..=ROWS_MAX)?,
        tokens: spec.embedding.positions,
    });
    spec.names = LAYER;
    Ok(spec)
}
