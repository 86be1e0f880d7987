//! [`TextParts`]: what models of texts have in common: an encoder, its tokenizer, and the tensors that are left for a head.

use candle_core::Device;
use tokenizers::Tokenizer;

use super::encoder::{Encoder, TextEncoder};
use super::family::{TextFamily, is_beside_encoder};
use super::inputs::pass_tokens;
use super::spec::{AttentionSpec, EncoderSpec, TOKENS_MAX};
use super::tensors::{FileTensors, Tensors};
use super::tokens::config::TokenizerConfig;
use super::tokens::files;
use super::tokens::tokenizer::Limits;
use crate::Result;
use crate::artifact::{Files, corrupt};
use crate::pretrained::config::{Config, JSON_BYTES_MAX};
use crate::pretrained::family::Source;
use crate::pretrained::transformer::Sizes;
use crate::pretrained::weights::Weights;

/// The descriptions of an encoder by sentence-transformers, one for each kind in older models.
pub(crate) const SENTENCE_FILES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// The most angles of a table.
const ANGLES_MAX: usize = 1 << 25;

/// The parts of a model of texts.
#[derive(Debug)]
pub(crate) struct TextParts<'a> {
    pub(crate) encoder: Box<dyn TextEncoder>,
    pub(crate) spec: EncoderSpec,
    /// As the files have it: what it cuts and pads does not count.
    pub(crate) tokenizer: Tokenizer,
    /// The file of the tokenizer.
    pub(crate) tokenizer_file: &'static str,
    pub(crate) limits: Limits,
    /// The tensors that the encoder did not take.
    pub(crate) tensors: FileTensors<'a>,
    /// What the names of the encoder's tensors begin with.
    pub(crate) base: &'static str,
}

impl<'a> TextParts<'a> {
    /// Takes the parts of a model of this family.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for files that do not fit each other;
    /// [`Error::Unsupported`](crate::Error::Unsupported) for what this build does not compute.
    pub(crate) fn take(source: &Source<'a>, family: &TextFamily) -> Result<Self> {
        let spec = (family.spec)(&source.config)?;
        let sentence = sentence_config(source.files)?;
        let options = TokenizerConfig::read(source.files)?;
        let limits = Limits {
            tokens: tokens_max(&source.config, &spec, &options, sentence.as_ref())?,
            vocabulary: spec.embedding.vocabulary,
            // With one type, all tokens have it, whatever a tokenizer says.
            types: match spec.embedding.types {
                0 | 1 => usize::MAX,
                types => types,
            },
        };
        let weights = Weights::read(source.files)?;
        let mut tensors = FileTensors::new(weights, source.device);
        let words = spec.embedding.names.words;
        let mut bases = family.bases.iter();
        let base = bases.find(|base| tensors.has(&format!("{base}{words}.weight")));
        let base = base.copied().unwrap_or("");
        let encoder = Encoder::take(&mut tensors, &spec, base)?;
        let (mut tokenizer, file) = files::open(source.files, family.vocabulary, &options)?;
        if sentence.is_some_and(|sentence| sentence.is_lower) {
            files::make_lower(&mut tokenizer)?;
        }
        check_vocabulary(&tokenizer, file, limits.vocabulary)?;
        Ok(Self {
            encoder: Box::new(encoder),
            spec,
            tokenizer,
            tokenizer_file: file,
            limits,
            tensors,
            base,
        })
    }

    /// Refuses tensors that neither the encoder nor a head took, but for those without effect on the model.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) with the first of them.
    pub(crate) fn finish(&self, architecture: &str) -> Result<()> {
        let is_known = |name: &str| is_beside_encoder(name, self.base);
        self.tensors.finish(architecture, is_known)
    }
}

/// Refuses a tokenizer with more tokens than the model has.
fn check_vocabulary(tokenizer: &Tokenizer, file: &str, known: usize) -> Result<()> {
    let numbers = tokenizer.get_vocab(true).into_values();
    let last = numbers.max().unwrap_or(0);
    match (last as usize) < known {
        true => Ok(()),
        false => {
            let what = format!("has a token with the number {last}, the model has {known} tokens");
            Err(corrupt(file, what))
        }
    }
}

/// The memory on the host that an encoder takes for so many texts with these limits, in bytes.
pub(crate) fn encoder_bytes(
    spec: &EncoderSpec,
    limits: &Limits,
    device: &Device,
    texts: usize,
) -> usize {
    if !device.is_cpu() {
        return 0;
    }
    let longest = limits.tokens;
    let tokens = texts.saturating_mul(longest);
    let tokens = tokens.min(pass_tokens(device).max(longest));
    let sizes = &spec.sizes;
    let gates = if spec.is_gated { 2 } else { 1 };
    // Queries, keys and values, and the vectors before, between and behind the parts of a layer.
    let of_token = 8 * sizes.width + gates * sizes.wide;
    let pairs = longest.min(tokens).saturating_mul(longest.min(tokens));
    let of_pairs = match spec.attention {
        // The scores of all heads, by contents and by distances.
        AttentionSpec::Disentangled(_) => pairs.saturating_mul(6 * sizes.heads),
        AttentionSpec::Plain | AttentionSpec::Buckets(_) | AttentionSpec::Rotary(_) => 0,
    };
    let numbers = (of_token * tokens).saturating_add(of_pairs);
    numbers.saturating_mul(size_of::<f32>())
}

/// What sentence-transformers says about an encoder.
#[derive(Debug, Clone, Copy)]
struct Sentence {
    tokens_max: Option<usize>,
    /// Whether the letters of texts are made small.
    is_lower: bool,
}

fn sentence_config(files: &Files) -> Result<Option<Sentence>> {
    let Some(name) = SENTENCE_FILES.into_iter().find(|name| files.has(name)) else {
        return Ok(None);
    };
    let config = Config::parse(name, &files.read(name, JSON_BYTES_MAX)?)?;
    let field = "max_seq_length";
    let tokens_max = match config.get(field) {
        None => None,
        Some(_) => Some(config.whole(field, None, 1..=TOKENS_MAX)?),
    };
    Ok(Some(Sentence {
        tokens_max,
        is_lower: config.flag("do_lower_case", false)?,
    }))
}

/// The most tokens of a text: as sentence-transformers says, else as the tokenizer and the description of the model say; but not more
/// than the encoder has positions.
fn tokens_max(
    config: &Config,
    spec: &EncoderSpec,
    tokenizer: &TokenizerConfig,
    sentence: Option<&Sentence>,
) -> Result<usize> {
    check_rotations(config, spec)?;
    let positions = spec.tokens_max();
    let field = "max_position_embeddings";
    if positions == 0 {
        let what = "has no position for a token; expected more than pad_token_id and 1";
        return Err(config.error(field, what));
    }
    let wanted = match sentence.and_then(|sentence| sentence.tokens_max) {
        Some(tokens) => tokens,
        None => {
            let described = config.whole(field, Some(TOKENS_MAX), 1..=TOKENS_MAX)?;
            let of_tokenizer = tokenizer.tokens_max()?.unwrap_or(TOKENS_MAX);
            described.min(of_tokenizer)
        }
    };
    Ok(wanted.min(positions))
}

/// Refuses rotations that heads do not have, and tables of angles that fill the memory.
fn check_rotations(config: &Config, spec: &EncoderSpec) -> Result<()> {
    let AttentionSpec::Rotary(layers) = &spec.attention else {
        return Ok(());
    };
    let Sizes { width, heads, .. } = spec.sizes;
    let of_head = width / heads;
    let tokens = layers.iter().map(|layer| layer.tokens).max().unwrap_or(0);
    if !of_head.is_multiple_of(2) {
        let what = format!("is {width}: its {heads} heads of {of_head} have no pairs to rotate");
        return Err(config.error("hidden_size", what));
    }
    match tokens * of_head <= ANGLES_MAX {
        true => Ok(()),
        false => {
            let what = format!("is {tokens}, too many for heads of {of_head}");
            Err(config.error("max_position_embeddings", what))
        }
    }
}
