//! Tokenizers of directories that have only a vocabulary: pieces of words in `vocab.txt`, or pairs of bytes in `vocab.json` and
//! `merges.txt`. They are written as `tokenizer.json` has them.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::config::{SpecialTokens, TokenizerConfig};
use crate::Result;
use crate::artifact::{Files, corrupt};
use crate::pretrained::config::{Config, JSON_BYTES_MAX};

pub(crate) const WORDS_FILE: &str = "vocab.txt";
pub(crate) const PAIRS_FILE: &str = "vocab.json";
const MERGES_FILE: &str = "merges.txt";

/// How special tokens stand around texts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around {
    /// The tokens that begin and end a text, that are unknown, that pad and that are masked, unless a file says other ones.
    pub(crate) defaults: [&'static str; 5],
    /// Whether two texts have two tokens between them, and one type of tokens.
    pub(crate) is_doubled: bool,
    /// Whether the masked token takes the space before it.
    pub(crate) mask_takes_space: bool,
}

impl Around {
    /// As in BERT.
    pub(crate) const BERT: Self = Self {
        defaults: ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"],
        is_doubled: false,
        mask_takes_space: false,
    };
    /// As in RoBERTa.
    pub(crate) const ROBERTA: Self = Self {
        defaults: ["<s>", "</s>", "<unk>", "<pad>", "<mask>"],
        is_doubled: true,
        mask_takes_space: true,
    };
    /// As in MPNet.
    pub(crate) const MPNET: Self = Self {
        defaults: ["<s>", "</s>", "[UNK]", "<pad>", "<mask>"],
        is_doubled: true,
        mask_takes_space: true,
    };

    /// The parts of `tokenizer.json` that all tokenizers have, for a file of this name whose tokens have these numbers.
    pub(super) fn parts(
        &self,
        file: &str,
        special: &SpecialTokens,
        number: &dyn Fn(&str) -> Option<u32>,
    ) -> Result<Map<String, Value>> {
        let numbered = |token: &str| {
            let missing = || corrupt(file, format!("has no token \"{}\"", token.escape_debug()));
            number(token).ok_or_else(missing)
        };
        let (first, last) = (&special.first, &special.last);
        let at_ends = [(first, numbered(first)?), (last, numbered(last)?)];
        let token = |token: &str, of: u8| json!({"SpecialToken": {"id": token, "type_id": of}});
        let text = |text: &str, of: u8| json!({"Sequence": {"id": text, "type_id": of}});
        let single = json!([token(first, 0), text("A", 0), token(last, 0)]);
        let pair = match self.is_doubled {
            true => json!([
                token(first, 0),
                text("A", 0),
                token(last, 0),
                token(last, 0),
                text("B", 0),
                token(last, 0)
            ]),
            false => json!([
                token(first, 0),
                text("A", 0),
                token(last, 0),
                text("B", 1),
                token(last, 1)
            ]),
        };
        let at_ends = at_ends.into_iter().map(|(token, number)| {
            let entry = json!({"id": token, "ids": [number], "tokens": [token]});
            (token.clone(), entry)
        });
        let processor = json!({
            "type": "TemplateProcessing",
            "single": single,
            "pair": pair,
            "special_tokens": at_ends.collect::<Map<String, Value>>(),
        });
        let mut known: Vec<(u32, &str)> = vec![];
        for token in special.all() {
            if let Some(number) = number(token)
                && !known.contains(&(number, token))
            {
                known.push((number, token));
            }
        }
        known.sort_unstable();
        let added = known.into_iter().map(|(number, token)| {
            let takes_space = self.mask_takes_space && *token == special.mask;
            added_token(number, token, takes_space, true)
        });
        let fields = [
            ("version", json!("1.0")),
            ("truncation", Value::Null),
            ("padding", Value::Null),
            ("added_tokens", added.collect()),
            ("post_processor", processor),
            ("decoder", Value::Null),
        ];
        let fields = fields.into_iter();
        Ok(fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect())
    }
}

/// A token that is found before a text is split.
pub(super) fn added_token(number: u32, token: &str, takes_space: bool, is_special: bool) -> Value {
    json!({
        "id": number,
        "content": token,
        "single_word": false,
        "lstrip": takes_space,
        "rstrip": false,
        "normalized": false,
        "special": is_special,
    })
}

/// The tokenizer of these fields of `tokenizer.json`.
pub(super) fn built(file: &str, fields: Map<String, Value>) -> Result<Tokenizer> {
    let wrong = |error: &dyn std::fmt::Display| corrupt(file, error);
    let written = serde_json::to_vec(&Value::Object(fields)).map_err(|error| wrong(&error))?;
    Tokenizer::from_bytes(written).map_err(|error| wrong(&error))
}

/// The tokenizer of pieces of words, a line of `vocab.txt` each.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) for a file that is no list of tokens.
pub(crate) fn word_pieces(
    files: &Files,
    config: &TokenizerConfig,
    around: &Around,
) -> Result<Tokenizer> {
    let content = files.read(WORDS_FILE, JSON_BYTES_MAX)?;
    let text = String::from_utf8(content).map_err(|error| corrupt(WORDS_FILE, error))?;
    let tokens = (0u32..).zip(text.lines());
    let numbers: HashMap<&str, u32> = tokens.map(|(number, token)| (token, number)).collect();
    let special = config.special(&around.defaults)?;
    if !numbers.contains_key(special.unknown.as_str()) {
        let what = format!("has no token \"{}\"", special.unknown.escape_debug());
        return Err(corrupt(WORDS_FILE, what));
    }
    let mut fields = around.parts(WORDS_FILE, &special, &|token| numbers.get(token).copied())?;
    let normalizer = json!({
        "type": "BertNormalizer",
        "clean_text": true,
        "handle_chinese_chars": config.flag("tokenize_chinese_chars")?.unwrap_or(true),
        "strip_accents": config.flag("strip_accents")?,
        "lowercase": config.flag("do_lower_case")?.unwrap_or(true),
    });
    let model = json!({
        "type": "WordPiece",
        "unk_token": special.unknown,
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": numbers,
    });
    fields.insert("normalizer".into(), normalizer);
    fields.insert("pre_tokenizer".into(), json!({"type": "BertPreTokenizer"}));
    fields.insert("model".into(), model);
    built(WORDS_FILE, fields)
}

/// The tokenizer of pairs of bytes that are merged, in `vocab.json` and `merges.txt`.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) for files that do not fit each other.
pub(crate) fn byte_pairs(
    files: &Files,
    config: &TokenizerConfig,
    around: &Around,
) -> Result<Tokenizer> {
    let vocabulary = Config::parse(PAIRS_FILE, &files.read(PAIRS_FILE, JSON_BYTES_MAX)?)?;
    let merges = files.read(MERGES_FILE, JSON_BYTES_MAX)?;
    let merges = String::from_utf8(merges).map_err(|error| corrupt(MERGES_FILE, error))?;
    let special = config.special(&around.defaults)?;
    let number = |token: &str| {
        let number = vocabulary.get(token)?.as_u64()?;
        u32::try_from(number).ok()
    };
    let mut fields = around.parts(PAIRS_FILE, &special, &number)?;
    // The first line may be a comment with a version.
    let lines = merges.lines().filter(|line| !line.starts_with("#version"));
    let merges: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let numbers = vocabulary.names().map(|name| {
        let number = vocabulary.whole(name, None, 0..=u32::MAX as usize)?;
        Ok((name.to_owned(), json!(number)))
    });
    let numbers = numbers.collect::<Result<Map<String, Value>>>()?;
    let model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": null,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": false,
        "byte_fallback": false,
        "ignore_merges": false,
        "vocab": numbers,
        "merges": merges,
    });
    let splitter = json!({
        "type": "ByteLevel",
        "add_prefix_space": config.flag("add_prefix_space")?.unwrap_or(false),
        "trim_offsets": true,
        "use_regex": true,
    });
    fields.insert("normalizer".into(), Value::Null);
    fields.insert("pre_tokenizer".into(), splitter);
    fields.insert("model".into(), model);
    built(PAIRS_FILE, fields)
}
