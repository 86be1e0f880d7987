//! [`open_gguf`]: a model that writes text from a file in GGUF.

use std::sync::Arc;

use candle_core::Device;
use serde_json::Value;

use super::chat::{Chat, SpecialTokens};
use super::config_design::Kind;
use super::decoder::Decoder;
use super::design::Names;
use super::gguf_design::{design, kind};
use super::gguf_file::GgufFile;
use super::model::{Parts, TextWriter};
use super::tokens::{Pieces, PromptTokenizer};
use crate::model::Model;
use crate::pretrained::config::Config;
use crate::{Error, Result};

/// The texts of tokens that end the turn of a model in a chat. Files name one such token at most.
const END_TEXTS: [&str; 7] = [
    "<end_of_turn>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|endoftext|>",
];
/// The roles of tokens that end a text.
const END_ROLES: [&str; 3] = ["eos", "eot", "eom"];
/// The kinds of tokens that are found in a text as they are. Some files have one for the tokens that end turns, some the other.
const CONTROL: i64 = 3;
const DEFINED: i64 = 4;

/// The model in a file of this name and content.
///
/// # Errors
/// [`Error::Corrupt`] for a file that is damaged; [`Error::Unsupported`] for a model that this build does not compute.
pub(crate) fn open_gguf(name: &str, content: Vec<u8>, device: &Device) -> Result<Arc<dyn Model>> {
    TextWriter::open(gguf_parts(name, content)?, device)
}

/// The parts of the model.
///
/// # Errors
/// Those of [`open_gguf`].
pub(super) fn gguf_parts(name: &str, content: Vec<u8>) -> Result<Parts> {
    let GgufFile {
        values,
        mut tensors,
    } = GgufFile::read(name, content)?;
    let parts = values.whole("split.count", Some(0), 0..=usize::MAX)?;
    if parts > 1 {
        return Err(Error::Unsupported(format!(
            "{name} is one of {parts} parts of a model; join them with llama-gguf-split --merge"
        )));
    }
    let (kind, architecture) = kind(&values)?;
    let design = design(&values, &mut tensors)?;
    let vocabulary = design.vocabulary;
    let decoder = Decoder::take(&mut tensors, design, &Names::GGUF)?;
    tensors.finish(architecture, |_| false)?;
    let tokens = Tokens::of(&values);
    Ok(Parts {
        architecture: architecture.to_owned(),
        network: Box::new(decoder),
        tokenizer: tokenizer(&values, kind, vocabulary)?,
        chat: chat(&values, &tokens)?,
        ends: tokens.ends(vocabulary),
        begin: tokens.role("bos", vocabulary),
        weight_bytes: tensors.bytes(),
    })
}

fn tokenizer(values: &Config, kind: Kind, vocabulary: usize) -> Result<PromptTokenizer> {
    let field = "tokenizer.ggml.model";
    match values.text(field)? {
        Some("llama") => {
            // White space after the control tokens of Phi 3 does not count.
            let pieces = Pieces::of_gguf(values, kind == Kind::Phi3)?;
            Ok(PromptTokenizer::of_pieces(pieces, vocabulary))
        }
        Some("gpt2") => PromptTokenizer::of_byte_pairs(values, vocabulary),
        Some(other) => Err(Error::Unsupported(format!(
            "{}: {field} is \"{other}\", which is not supported; llama and gpt2 are",
            values.file()
        ))),
        None => Err(values.error(field, "is missing")),
    }
}

fn chat(values: &Config, tokens: &Tokens<'_>) -> Result<Option<Chat>> {
    let Some(template) = values.text("tokenizer.chat_template")? else {
        return Ok(None);
    };
    let text = |role: &str| {
        let id = tokens.role(role, usize::MAX);
        id.and_then(|id| tokens.text(id))
            .unwrap_or_default()
            .to_owned()
    };
    let special = SpecialTokens {
        begin: text("bos"),
        end: text("eos"),
    };
    Chat::new(values.file(), template.to_owned(), special).map(Some)
}

/// The tokens of a file, with their texts, kinds and roles.
struct Tokens<'a> {
    values: &'a Config,
    texts: &'a [Value],
    kinds: &'a [Value],
}

impl<'a> Tokens<'a> {
    fn of(values: &'a Config) -> Self {
        let list = |name: &str| -> &'a [Value] {
            let list = values.get(name).and_then(Value::as_array);
            list.map(Vec::as_slice).unwrap_or_default()
        };
        Self {
            values,
            texts: list("tokenizer.ggml.tokens"),
            kinds: list("tokenizer.ggml.token_type"),
        }
    }

    fn text(&self, id: u32) -> Option<&'a str> {
        self.texts.get(id as usize)?.as_str()
    }

    /// The token of a role, if the file names one of the vocabulary.
    fn role(&self, role: &str, vocabulary: usize) -> Option<u32> {
        let name = format!("tokenizer.ggml.{role}_token_id");
        let id = self.values.get(&name)?.as_u64()?;
        let id = u32::try_from(id).ok()?;
        ((id as usize) < vocabulary).then_some(id)
    }

    /// The tokens that end a text: those of the roles for it, and control or defined tokens with the texts for it.
    fn ends(&self, vocabulary: usize) -> Vec<u32> {
        let roles = END_ROLES
            .iter()
            .filter_map(|role| self.role(role, vocabulary));
        let mut ends: Vec<u32> = roles.collect();
        let tokens = (0u32..).zip(self.texts.iter().zip(self.kinds));
        let of_turns = tokens.filter(|(_, (text, kind))| {
            let is_whole = matches!(kind.as_i64(), Some(CONTROL | DEFINED));
            is_whole && text.as_str().is_some_and(|text| END_TEXTS.contains(&text))
        });
        ends.extend(of_turns.map(|(id, _)| id));
        ends
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_ends_with_the_tokens_of_roles_and_of_turns() {
        let values = json!({
            "tokenizer.ggml.tokens": ["a", "<|end_of_text|>", "</s>", "<end_of_turn>", "<|end|>", "<|im_end|>"],
            "tokenizer.ggml.token_type": [1, 3, 3, 4, 1, 3],
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.eot_token_id": 9,
        });
        let Value::Object(fields) = values else {
            panic!("no object")
        };
        let values = Config::of_fields("m.gguf", fields);
        // Neither a role beyond the vocabulary nor a piece of an ordinary text.
        assert_eq!(Tokens::of(&values).ends(6), [2, 1, 3, 5]);
    }
}
