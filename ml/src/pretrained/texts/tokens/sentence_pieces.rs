//! Tokenizers of SentencePiece: the message in `spiece.model`, of which only pieces with probabilities (unigrams) are known.
//!
//! Kudo, "Subword regularization: improving neural network translation models with multiple subword candidates", 2018.

use std::collections::HashMap;

use prost::Message;
use serde_json::{Value, json};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, Precompiled, Replace, Sequence};
use tokenizers::{NormalizerWrapper, Tokenizer};

use super::config::TokenizerConfig;
use super::patterns::check_table;
use super::vocabularies::{Around, added_token, built};
use crate::artifact::{Files, corrupt};
use crate::pretrained::config::JSON_BYTES_MAX;
use crate::{Error, Result};

/// The names of the file.
pub(crate) const PIECES_FILES: [&str; 4] = [
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
];

/// The part of `sentencepiece_model.proto` that predictions need.
#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer_spec: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer_spec: Option<NormalizerSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, tag = "1")]
    piece: String,
    #[prost(float, tag = "2")]
    score: f32,
    /// 1 is a normal piece, the default.
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct TrainerSpec {
    /// 1 are unigrams, the default.
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, tag = "35")]
    byte_fallback: bool,
    #[prost(int32, optional, tag = "40")]
    unk_id: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", tag = "2")]
    precompiled_charsmap: Vec<u8>,
    #[prost(bool, optional, tag = "3")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    escape_whitespaces: Option<bool>,
}

const UNIGRAM: i32 = 1;
/// A piece that stands for something and never for its own text.
const CONTROL: i32 = 3;
/// A piece that is found before a text is split.
const USER_DEFINED: i32 = 4;
/// What stands for a space.
const SPACE: &str = "▁";

/// Where a family puts the pieces of the file among its tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Places {
    /// As in the file, and a token to predict behind them.
    AsStored,
    /// The tokens that begin a text, pad, end it and are unknown; then the pieces from the fourth on, and a token to predict.
    XlmRoberta,
    /// As above with one more token before the pieces, which begin with the second.
    Camembert,
}

impl Places {
    /// The tokens with their scores, and the number of the unknown one.
    fn tokens(self, pieces: &[Piece], unknown: usize, mask: &str) -> (Vec<(String, f64)>, usize) {
        let of_pieces = |from: usize| {
            let pieces = pieces.get(from..).unwrap_or_default().iter();
            pieces.map(|piece| (piece.piece.clone(), f64::from(piece.score)))
        };
        let before = |tokens: &[(&str, f64)]| {
            let tokens = tokens.iter();
            tokens
                .map(|(token, score)| ((*token).to_owned(), *score))
                .collect::<Vec<_>>()
        };
        let (mut tokens, unknown) = match self {
            Self::AsStored => (of_pieces(0).collect(), unknown),
            Self::XlmRoberta => {
                let first = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)];
                let mut tokens = before(&first);
                tokens.extend(of_pieces(3));
                (tokens, 3)
            }
            Self::Camembert => {
                let mut tokens = before(&[
                    ("<s>NOTUSED", 0.0),
                    ("<pad>", 0.0),
                    ("</s>NOTUSED", 0.0),
                    ("<unk>", 0.0),
                    ("<unk>NOTUSED", -100.0),
                ]);
                tokens.extend(of_pieces(1));
                (tokens, 3)
            }
        };
        if !tokens.iter().any(|(token, _)| token == mask) {
            tokens.push((mask.to_owned(), 0.0));
        }
        (tokens, unknown)
    }
}

/// The tokenizer of pieces in a file of this name.
///
/// # Errors
/// [`Error::Corrupt`] for a file that is no such message; [`Error::Unsupported`] for other models than unigrams.
pub(crate) fn sentence_pieces(
    (files, name): (&Files, &str),
    config: &TokenizerConfig,
    around: &Around,
    places: Places,
) -> Result<Tokenizer> {
    let content = files.read(name, JSON_BYTES_MAX)?;
    let proto = ModelProto::decode(content.as_slice()).map_err(|error| corrupt(name, error))?;
    if proto.pieces.is_empty() {
        return Err(corrupt(
            name,
            "has no pieces; it is no model of SentencePiece",
        ));
    }
    let trainer = proto.trainer_spec.unwrap_or_default();
    if trainer.model_type.is_some_and(|kind| kind != UNIGRAM) {
        return Err(Error::Unsupported(format!(
            "{name} has other pieces than unigrams; load the tokenizer in Python with AutoTokenizer.from_pretrained, and save it \
             with save_pretrained as tokenizer.json"
        )));
    }
    let special = config.special(&around.defaults)?;
    let unknown = usize::try_from(trainer.unk_id.unwrap_or(0)).unwrap_or(usize::MAX);
    let (tokens, unknown) = places.tokens(&proto.pieces, unknown, &special.mask);
    if unknown >= tokens.len() {
        return Err(corrupt(
            name,
            "the number of its unknown token is not that of a piece",
        ));
    }
    if tokens.iter().any(|(_, score)| !score.is_finite()) {
        return Err(corrupt(name, "a score is NaN or infinite"));
    }
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    for (number, (token, _)) in (0u32..).zip(&tokens) {
        numbers.entry(token).or_insert(number);
    }
    let number = |token: &str| numbers.get(token).copied();
    let mut fields = around.parts(name, &special, &number)?;
    if let Some(Value::Array(added)) = fields.get_mut("added_tokens") {
        let is_added = |piece: &&Piece| matches!(piece.kind, Some(CONTROL | USER_DEFINED));
        for piece in proto.pieces.iter().filter(is_added) {
            let text = piece.piece.as_str();
            if let Some(number) = number(text)
                && !special.all().contains(&text)
            {
                added.push(added_token(
                    number,
                    text,
                    false,
                    piece.kind == Some(CONTROL),
                ));
            }
        }
        added.sort_by_key(|token| token["id"].as_u64());
    }
    let spec = proto.normalizer_spec.unwrap_or_default();
    let scheme = match spec.add_dummy_prefix {
        Some(false) => "never",
        _ => "always",
    };
    let splitter =
        json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": true});
    let model = json!({
        "type": "Unigram",
        "unk_id": unknown,
        "vocab": tokens,
        "byte_fallback": trainer.byte_fallback,
    });
    fields.insert("normalizer".into(), Value::Null);
    fields.insert("pre_tokenizer".into(), splitter);
    fields.insert("model".into(), model);
    let mut tokenizer = built(name, fields)?;
    let is_lower = config.flag("do_lower_case")?.unwrap_or(false);
    let normalizers = normalizers(name, &spec, is_lower)?;
    tokenizer
        .with_normalizer(Some(Sequence::new(normalizers)))
        .map_err(|error| corrupt(name, error))?;
    Ok(tokenizer)
}

/// What happens to a text before it is split: characters are replaced as the table says, and spaces before, behind and beside others
/// are removed.
fn normalizers(
    name: &str,
    spec: &NormalizerSpec,
    is_lower: bool,
) -> Result<Vec<NormalizerWrapper>> {
    let mut normalizers = vec![];
    if is_lower {
        normalizers.push(NormalizerWrapper::Lowercase(Lowercase));
    }
    let table = spec.precompiled_charsmap.as_slice();
    if !table.is_empty() {
        check_table(
            name,
            table.first_chunk().copied(),
            table.len() - table.len().min(4),
        )?;
        let table = Precompiled::from(table).map_err(|error| corrupt(name, error))?;
        normalizers.push(NormalizerWrapper::Precompiled(table));
    }
    if spec.escape_whitespaces == Some(false) {
        return Err(Error::Unsupported(format!(
            "{name} keeps spaces as they are, which is not supported"
        )));
    }
    let mut replacements = vec![];
    if spec.remove_extra_whitespaces != Some(false) {
        replacements.extend([(r"\A +| +\z", ""), (" {2,}", " ")]);
    }
    if spec.add_dummy_prefix != Some(false) {
        // The splitter adds no space to a text that begins with the sign of one.
        replacements.push((r"\A▁", "▁▁"));
    }
    for (pattern, content) in replacements {
        let pattern = ReplacePattern::Regex(pattern.into());
        let replace = Replace::new(pattern, content).map_err(|error| corrupt(name, error))?;
        normalizers.push(NormalizerWrapper::Replace(replace));
    }
    Ok(normalizers)
}
