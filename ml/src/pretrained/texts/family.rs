//! [`TextFamily`]: architectures whose encoders one function describes, and the limits of their descriptions.

use super::spec::EncoderSpec;
use super::tokens::files::Vocabulary;
use crate::Result;
use crate::pretrained::config::Config;

/// The most tokens of a vocabulary.
const VOCABULARY_MAX: usize = 1 << 21;
/// The most types of tokens.
pub(crate) const TYPES_MAX: usize = 16;

/// What the names of tensors begin with that belong to heads, not to encoders.
const HEADS: [&str; 14] = [
    "classifier.",
    "cls.",
    "decoder.",
    "discriminator_predictions.",
    "generator_lm_head.",
    "generator_predictions.",
    "head.",
    "lm_head.",
    "lm_predictions.",
    "mask_predictions.",
    "pre_classifier.",
    "qa_outputs.",
    "vocab_",
    "pooler.",
];

/// Architectures with one kind of encoder.
#[derive(Debug)]
pub(crate) struct TextFamily {
    /// What Hugging Face calls the family: `model_type` in `config.json`.
    pub(crate) model_type: &'static str,
    /// The architectures: `architectures` in `config.json`.
    pub(crate) architectures: &'static [&'static str],
    /// What the names of the tensors of an encoder may begin with in a model that has a head, too.
    pub(crate) bases: &'static [&'static str],
    /// What an encoder is made of.
    pub(crate) spec: fn(&Config) -> Result<EncoderSpec>,
    /// What a directory has if it has no `tokenizer.json`.
    pub(crate) vocabulary: Vocabulary,
}

/// Whether a tensor of this name, which no layer of an encoder took, has no effect on the vectors of tokens: it counts positions, or
/// belongs to a head. `base` begins the names of the encoder.
pub(crate) fn is_beside_encoder(name: &str, base: &str) -> bool {
    let own = name.strip_prefix(base).unwrap_or(name);
    let is_head = HEADS.iter().any(|head| own.starts_with(head));
    // Where distances stand for positions, the table of positions is a leftover.
    is_head || own.ends_with(".position_ids") || own == "embeddings.position_embeddings.weight"
}

/// The number of heads, of which the width is a multiple; `default` has what is meant without a number.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) for 0 heads, and for heads that do not fit the width.
pub(crate) fn heads_of(
    config: &Config,
    name: &str,
    (default, width): (usize, usize),
) -> Result<usize> {
    let heads = config.whole(name, Some(default), 1..=width)?;
    match width.is_multiple_of(heads) {
        true => Ok(heads),
        false => {
            let what = format!("is {heads}, which does not divide the width {width}");
            Err(config.error(name, what))
        }
    }
}

/// The number of tokens of the vocabulary.
pub(crate) fn vocabulary(config: &Config, default: usize) -> Result<usize> {
    config.whole("vocab_size", Some(default), 1..=VOCABULARY_MAX)
}
