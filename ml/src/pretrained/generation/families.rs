//! The families of models that write text, and how the files of Hugging Face become one.

use std::sync::Arc;

use serde_json::Value;

use super::chat::{Chat, SpecialTokens};
use super::config_design::{Kind, design};
use super::decoder::Decoder;
use super::model::{Parts, TextWriter};
use super::network::Network;
use super::stored::Tensors;
use super::t5::T5;
use super::t5_design::t5_design;
use super::tokens::PromptTokenizer;
use crate::Result;
use crate::artifact::{Files, corrupt};
use crate::model::Model;
use crate::pretrained::config::{Config, JSON_BYTES_MAX};
use crate::pretrained::family::{Family, Open, Source};
use crate::pretrained::weights::Weights;

pub(crate) const LLAMA: Family = family("llama", &["LlamaForCausalLM"], |source| {
    open(source, Kind::Llama)
});
pub(crate) const MISTRAL: Family = family("mistral", &["MistralForCausalLM"], |source| {
    open(source, Kind::Mistral)
});
pub(crate) const QWEN2: Family = family("qwen2", &["Qwen2ForCausalLM"], |source| {
    open(source, Kind::Qwen2)
});
pub(crate) const QWEN3: Family = family("qwen3", &["Qwen3ForCausalLM"], |source| {
    open(source, Kind::Qwen3)
});
pub(crate) const GEMMA: Family = family("gemma", &["GemmaForCausalLM"], |source| {
    open(source, Kind::Gemma)
});
pub(crate) const GEMMA2: Family = family("gemma2", &["Gemma2ForCausalLM"], |source| {
    open(source, Kind::Gemma2)
});
pub(crate) const GEMMA3: Family = family("gemma3_text", &["Gemma3ForCausalLM"], |source| {
    open(source, Kind::Gemma3)
});
pub(crate) const PHI3: Family = family("phi3", &["Phi3ForCausalLM"], |source| {
    open(source, Kind::Phi3)
});
pub(crate) const T5_FAMILY: Family = family("t5", &["T5ForConditionalGeneration"], open_t5);

const fn family(
    model_type: &'static str,
    architectures: &'static [&'static str],
    open: Open,
) -> Family {
    Family {
        model_type,
        architectures,
        timm: &[],
        open,
        open_texts: None,
    }
}

/// Whether a tensor follows from the description: older programs kept it beside the weights.
fn is_known(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq")
}

fn open(source: &Source<'_>, kind: Kind) -> Result<Arc<dyn Model>> {
    TextWriter::open(decoder_parts(source, kind)?, source.device)
}

fn open_t5(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    TextWriter::open(t5_parts(source)?, source.device)
}

/// The parts of a decoder.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) for files that do not fit each other, and
/// [`Error::Unsupported`](crate::Error::Unsupported) for what this build does not compute.
pub(super) fn decoder_parts(source: &Source<'_>, kind: Kind) -> Result<Parts> {
    let mut design = design(&source.config, kind)?;
    let vocabulary = design.vocabulary;
    let mut tensors = Tensors::of_safetensors(Weights::read(source.files)?);
    // As in transformers, a matrix of its own counts, whatever the description says: it may differ from that of the tokens.
    let head = format!("{}.weight", kind.names().head);
    design.parts.tied &= !tensors.has(&head);
    let decoder = Decoder::take(&mut tensors, design, kind.names())?;
    tensors.finish(&source.architecture, is_known)?;
    parts(source, Box::new(decoder), vocabulary, tensors.bytes())
}

/// The parts of a T5.
///
/// # Errors
/// Those of [`decoder_parts`].
pub(super) fn t5_parts(source: &Source<'_>) -> Result<Parts> {
    /// Copies of the vectors of tokens, and what the architecture once had and does not use.
    const COPIES: [&str; 3] = [
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
    ];
    let generation = generation_config(source.files)?;
    let mut tensors = Tensors::of_safetensors(Weights::read(source.files)?);
    let has_head = tensors.has("lm_head.weight");
    let design = t5_design(&source.config, generation.as_ref(), !has_head)?;
    let vocabulary = design.vocabulary;
    let network = T5::take(&mut tensors, design)?;
    tensors.finish(&source.architecture, |name| COPIES.contains(&name))?;
    parts(source, Box::new(network), vocabulary, tensors.bytes())
}

/// A network with its tokenizer, its template and the tokens that end a text.
fn parts(
    source: &Source<'_>,
    network: Box<dyn Network>,
    vocabulary: usize,
    weight_bytes: usize,
) -> Result<Parts> {
    let (files, config) = (source.files, &source.config);
    let generation = generation_config(files)?;
    let described = [generation.as_ref(), Some(config)];
    let mut described = described.into_iter().flatten();
    let field = "eos_token_id";
    let ends = match described.find(|config| config.get(field).is_some()) {
        Some(config) => ids(config, field, vocabulary)?,
        None => vec![],
    };
    let begin = ids(config, "bos_token_id", vocabulary)?;
    Ok(Parts {
        architecture: source.architecture.clone(),
        network,
        tokenizer: PromptTokenizer::read(files, vocabulary)?,
        chat: chat(files)?,
        ends,
        begin: begin.first().copied(),
        weight_bytes,
    })
}

/// What `generation_config.json` says, if it is there.
fn generation_config(files: &Files) -> Result<Option<Config>> {
    read(files, "generation_config.json")
}

fn read(files: &Files, name: &str) -> Result<Option<Config>> {
    match files.has(name) {
        true => Config::parse(name, &files.read(name, JSON_BYTES_MAX)?).map(Some),
        false => Ok(None),
    }
}

/// The tokens of a field: one, or a list.
fn ids(config: &Config, field: &str, vocabulary: usize) -> Result<Vec<u32>> {
    let range = 0..=vocabulary - 1;
    let ids = match config.get(field) {
        None => vec![],
        Some(Value::Array(_)) => config.wholes(field, &[], range)?,
        Some(_) => vec![config.whole(field, None, range)?],
    };
    Ok(ids.into_iter().map(|id| id as u32).collect())
}

/// The template of a model for chats, if it has one.
fn chat(files: &Files) -> Result<Option<Chat>> {
    /// The file with the template alone.
    const TEMPLATE_FILE: &str = "chat_template.jinja";
    const TOKENS_FILE: &str = "tokenizer_config.json";
    const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
    let config = read(files, TOKENS_FILE)?;
    let text = |field: &str| match &config {
        Some(config) => token_text(config, field),
        None => Ok(String::new()),
    };
    let tokens = SpecialTokens {
        begin: text("bos_token")?,
        end: text("eos_token")?,
    };
    let (file, template) = match files.has(TEMPLATE_FILE) {
        true => {
            let content = files.read(TEMPLATE_FILE, TEMPLATE_BYTES_MAX)?;
            let text = String::from_utf8(content);
            let text = text.map_err(|error| corrupt(TEMPLATE_FILE, error))?;
            (TEMPLATE_FILE, Some(text))
        }
        false => (TOKENS_FILE, config.as_ref().map_or(Ok(None), template)?),
    };
    let chat = template.map(|template| Chat::new(file, template, tokens));
    chat.transpose()
}

/// The template in `tokenizer_config.json`: a text, or one of the name `default` in a list.
fn template(config: &Config) -> Result<Option<String>> {
    let field = "chat_template";
    match config.get(field) {
        None => Ok(None),
        Some(Value::Array(templates)) => {
            let is_default = |template: &&Value| template["name"] == "default";
            let found = templates.iter().find(is_default);
            let text = found.and_then(|template| template["template"].as_str());
            let text = text.ok_or_else(|| config.error(field, "has no template \"default\""))?;
            Ok(Some(text.to_owned()))
        }
        Some(_) => Ok(config.text(field)?.map(str::to_owned)),
    }
}

/// The text of a special token: a text, or an object with its content.
fn token_text(config: &Config, field: &str) -> Result<String> {
    let text = match config.get(field) {
        Some(Value::Object(_)) => {
            let token = config.section_or_empty(field)?;
            token.text("content")?.map(str::to_owned)
        }
        _ => config.text(field)?.map(str::to_owned),
    };
    Ok(text.unwrap_or_default())
}
