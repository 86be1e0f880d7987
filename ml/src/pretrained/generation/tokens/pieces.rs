//! [`Pieces`]: the tokenizer of SentencePiece with pairs of pieces, as a file in GGUF holds it: the text, the score and the kind of
//! each token.
//!
//! ```text
//! text ─ control tokens ─▶ texts between ─ ' ' as '▁', defined tokens ─▶ characters ─ best pairs first ─▶ pieces, else bytes
//! ```

use std::collections::HashMap;
use std::fmt;
use std::iter::repeat_n;
use std::ops::Range;
use std::sync::Arc;

use super::merges::merged;
use super::special::{Part, Special};
use crate::Result;
use crate::pretrained::config::Config;

/// How a space is written in a piece.
const SPACE: char = '\u{2581}';
/// About the bytes of a token in both of its tables.
const TOKEN_BYTES: usize = 96;

/// The kinds of tokens in GGUF.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const DEFINED: i64 = 4;
const UNUSED: i64 = 5;
const BYTE: i64 = 6;

/// What a token stands for.
#[derive(Debug, Clone)]
enum Meaning {
    /// A text, with '▁' for a space.
    Text(Arc<str>),
    Byte(u8),
    /// Nothing that is read.
    None,
}

/// A tokenizer with pieces.
pub(crate) struct Pieces {
    meanings: Vec<Meaning>,
    /// The pieces, each with its token and its score.
    pieces: HashMap<Arc<str>, (u32, f32)>,
    /// The token of each byte.
    bytes: Vec<Option<u32>>,
    unknown: Option<u32>,
    /// Tokens such as those that begin a turn of a chat.
    control: Special,
    /// Pieces that no other piece cuts.
    defined: Special,
    begin: Option<u32>,
    end: Option<u32>,
    /// Whether a text begins with a space.
    has_space_before: bool,
    /// Whether white space after a control token is left out.
    strips_after_control: bool,
}

/// A token, and its place in the text.
type Placed = (u32, Range<usize>);

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pieces", self.meanings.len())
    }
}

impl Pieces {
    /// The tokenizer that the values of a file in GGUF describe.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for values that do not fit each other.
    pub(crate) fn of_gguf(values: &Config, strips_after_control: bool) -> Result<Self> {
        let field = "tokenizer.ggml.tokens";
        let texts = values.texts(field)?;
        let texts = texts.ok_or_else(|| values.error(field, "is missing"))?;
        let count = texts.len();
        values.require_flag("tokenizer.ggml.remove_extra_whitespaces", false)?;
        let scores = values.numbers("tokenizer.ggml.scores", count)?;
        let scores = scores.unwrap_or_else(|| vec![0.0; count]);
        let kinds = values.numbers("tokenizer.ggml.token_type", count)?;
        let kinds = kinds.unwrap_or_else(|| vec![1.0; count]);
        let mut found = Self {
            meanings: Vec::with_capacity(count),
            pieces: HashMap::with_capacity(count),
            bytes: vec![None; 256],
            unknown: token(values, "unknown", count)?,
            control: Special::default(),
            defined: Special::default(),
            begin: added(values, "bos", count, true)?,
            end: added(values, "eos", count, false)?,
            has_space_before: values.flag("tokenizer.ggml.add_space_prefix", true)?,
            strips_after_control,
        };
        let (mut control, mut defined) = (vec![], vec![]);
        for (id, text) in (0u32..).zip(&texts) {
            let (kind, score) = (kinds[id as usize] as i64, scores[id as usize] as f32);
            let meaning = found.add(id, text, kind, score);
            match (kind, &meaning) {
                _ if text.is_empty() => {}
                (CONTROL, _) => control.push((Arc::from(text.as_str()), id)),
                (DEFINED, Meaning::Text(text)) => defined.push((Arc::clone(text), id)),
                _ => {}
            }
            found.meanings.push(meaning);
        }
        found.control = Special::new(control);
        found.defined = Special::new(defined);
        Ok(found)
    }

    /// Takes a token into the tables.
    fn add(&mut self, id: u32, text: &str, kind: i64, score: f32) -> Meaning {
        match kind {
            UNKNOWN | CONTROL | UNUSED => Meaning::None,
            BYTE => {
                let digits = text
                    .strip_prefix("<0x")
                    .and_then(|text| text.strip_suffix('>'));
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => {
                        self.bytes[usize::from(byte)] = Some(id);
                        Meaning::Byte(byte)
                    }
                    None => Meaning::None,
                }
            }
            _ => {
                let text: Arc<str> = Arc::from(escaped(text));
                self.pieces.insert(Arc::clone(&text), (id, score));
                Meaning::Text(text)
            }
        }
    }

    /// The memory of the tables in bytes.
    pub(super) fn table_bytes(&self) -> usize {
        self.meanings.len() * TOKEN_BYTES
    }

    /// The tokens of a text, with those that begin and end each text if it is `whole`.
    pub(super) fn tokens(&self, text: &str, whole: bool) -> Vec<u32> {
        let (begin, end) = match whole {
            true => (self.begin, self.end),
            false => (None, None),
        };
        let tokens = self.placed(text).into_iter().map(|(token, _)| token);
        begin.into_iter().chain(tokens).chain(end).collect()
    }

    /// The place of each token of a text.
    pub(super) fn places(&self, text: &str) -> Vec<Range<usize>> {
        let placed = self.placed(text).into_iter();
        placed.map(|(_, place)| place).collect()
    }

    fn placed(&self, text: &str) -> Vec<Placed> {
        let mut tokens = vec![];
        let mut is_at_start = true;
        for part in self.control.parts(text) {
            match part {
                Part::Token(token, place) => {
                    tokens.push((token, place));
                    is_at_start = true;
                }
                Part::Text(mut place) => {
                    if self.strips_after_control && place.start > 0 {
                        let rest = text[place.clone()].trim_start();
                        place.start = place.end - rest.len();
                    }
                    if !place.is_empty() {
                        let has_space = self.has_space_before && is_at_start;
                        self.divide(text, place, has_space, &mut tokens);
                    }
                    is_at_start = false;
                }
            }
        }
        tokens
    }

    /// Adds the tokens of the part of a text at `place`, before which comes a space if `has_space`.
    fn divide(&self, text: &str, place: Range<usize>, has_space: bool, tokens: &mut Vec<Placed>) {
        // With spaces as pieces have them, and where each byte is in the text.
        let (mut whole, mut origins) = (String::new(), vec![]);
        let mut add = |character: char, origin: usize| {
            let written = if character == ' ' { SPACE } else { character };
            whole.push(written);
            origins.extend(repeat_n(origin, written.len_utf8()));
        };
        if has_space {
            add(' ', place.start);
        }
        for (at, character) in text[place.clone()].char_indices() {
            add(character, place.start + at);
        }
        origins.push(place.end);
        let origin = |range: &Range<usize>| origins[range.start]..origins[range.end];
        let score = |piece: &str| self.pieces.get(piece).map(|(_, score)| *score);
        for part in self.defined.parts(&whole) {
            match part {
                Part::Token(token, range) => tokens.push((token, origin(&range))),
                Part::Text(range) => {
                    for piece in merged(&whole[range.clone()], score) {
                        let piece = range.start + piece.start..range.start + piece.end;
                        self.add_piece(&whole[piece.clone()], origin(&piece), tokens);
                    }
                }
            }
        }
    }

    /// Adds the token of a piece, or those of its bytes. Of several unknown ones after each other only the first is there.
    fn add_piece(&self, piece: &str, place: Range<usize>, tokens: &mut Vec<Placed>) {
        if let Some((token, _)) = self.pieces.get(piece) {
            tokens.push((*token, place));
            return;
        }
        let bytes: Option<Vec<u32>> = piece
            .bytes()
            .map(|byte| self.bytes[usize::from(byte)])
            .collect();
        match (bytes, self.unknown) {
            (Some(bytes), _) => {
                tokens.extend(bytes.into_iter().map(|token| (token, place.clone())))
            }
            (None, Some(unknown)) => match tokens.last_mut() {
                Some((last, before)) if *last == unknown => before.end = place.end,
                _ => tokens.push((unknown, place)),
            },
            (None, None) => {}
        }
    }

    /// The text of tokens. Those that stand for nothing that is read are left out.
    pub(super) fn text(&self, tokens: &[u32]) -> String {
        let mut bytes = vec![];
        for token in tokens {
            match self.meanings.get(*token as usize) {
                Some(Meaning::Text(text)) => {
                    bytes.extend(text.replace(SPACE, " ").bytes());
                }
                Some(Meaning::Byte(byte)) => bytes.push(*byte),
                Some(Meaning::None) | None => {}
            }
        }
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            // As in SentencePiece, one for each byte.
            let unreadable = chunk.invalid().len();
            text.extend(repeat_n(char::REPLACEMENT_CHARACTER, unreadable));
        }
        let begins_with_space = self.has_space_before && text.starts_with(' ');
        text[usize::from(begins_with_space)..].to_owned()
    }
}

fn escaped(text: &str) -> String {
    text.replace(' ', SPACE.encode_utf8(&mut [0; 4]))
}

/// The token of this role, if the file names one.
fn token(values: &Config, role: &str, count: usize) -> Result<Option<u32>> {
    let field = format!("tokenizer.ggml.{role}_token_id");
    match values.get(&field) {
        None => Ok(None),
        Some(_) => {
            let token = values.whole(&field, None, 0..=count.saturating_sub(1))?;
            Ok(Some(token as u32))
        }
    }
}

/// The token of this role, if it is added to each text.
fn added(values: &Config, role: &str, count: usize, default: bool) -> Result<Option<u32>> {
    let is_added = values.flag(&format!("tokenizer.ggml.add_{role}_token"), default)?;
    let token = token(values, role, count)?;
    Ok(token.filter(|_| is_added))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Map, Value};

    use super::*;

    #[derive(Deserialize)]
    struct Fixture {
        /// The values of a file in GGUF.
        values: Map<String, Value>,
        texts: Vec<Expected>,
    }

    #[derive(Deserialize)]
    struct Expected {
        text: String,
        tokens: Vec<u32>,
        decoded: String,
    }

    /// Two models that the Python package `sentencepiece` trained (`tests/it/fixtures/generation.py`), and what it makes of texts.
    #[test]
    fn pieces_are_those_of_sentencepiece() {
        let fixtures = include_str!("../../../../tests/it/fixtures/pieces.json");
        let fixtures: Vec<Fixture> = serde_json::from_str(fixtures).unwrap();
        assert_eq!(fixtures.len(), 2);
        for Fixture { values, texts } in fixtures {
            let values = Config::of_fields("model.gguf", values);
            let pieces = Pieces::of_gguf(&values, false).unwrap();
            for expected in texts {
                let text = &expected.text;
                assert_eq!(pieces.tokens(text, false), expected.tokens, "{text:?}");
                assert_eq!(pieces.text(&expected.tokens), expected.decoded, "{text:?}");
                let places = pieces.places(text);
                assert_eq!(places.len(), expected.tokens.len());
                let in_order = places.is_sorted_by_key(|place| (place.start, place.end));
                assert!(in_order && places.last().is_none_or(|last| last.end == text.len()));
            }
        }
    }

    fn small(values: &str) -> Pieces {
        let mut all: Map<String, Value> = serde_json::from_str(
            r#"{"tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "<0x61>", "\u2581b", "b", "\u2581", "<t>", "  "],
                "tokenizer.ggml.scores": [0, 0, 0, 0, -1, -2, -3, 0, 0],
                "tokenizer.ggml.token_type": [2, 3, 3, 6, 1, 1, 1, 3, 4],
                "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
                "tokenizer.ggml.unknown_token_id": 0}"#,
        )
        .unwrap();
        let more: Map<String, Value> = serde_json::from_str(values).unwrap();
        all.extend(more);
        Pieces::of_gguf(&Config::of_fields("model.gguf", all), false).unwrap()
    }

    #[test]
    fn special_tokens_spaces_and_bytes() {
        let pieces = small("{}");
        assert_eq!(pieces.tokens("b", true), [1, 4]);
        assert_eq!(pieces.tokens("b<t>b", false), [4, 7, 4]);
        assert_eq!(pieces.tokens("b  b", false), [4, 8, 5]);
        assert_eq!(pieces.tokens("<t>  b", false), [7, 8, 4]);
        // Neither a piece nor a byte is known; one token stands for all of them.
        assert_eq!(pieces.tokens("axyb", false), [6, 3, 0, 5]);
        assert_eq!(pieces.places("axyb"), [0..0, 0..1, 1..3, 3..4]);
        assert_eq!(pieces.text(&[1, 4, 3, 7, 8, 0, 2]), "ba  ");
        let bytes = small(
            r#"{"tokenizer.ggml.tokens": ["<0xE2>", "<0x82>", "<0xAC>", "b"], "tokenizer.ggml.scores": [0, 0, 0, 0],
            "tokenizer.ggml.token_type": [6, 6, 6, 1], "tokenizer.ggml.bos_token_id": null, "tokenizer.ggml.eos_token_id": null}"#,
        );
        assert_eq!(bytes.text(&[0, 1, 2, 3]), "€b");
        assert_eq!(bytes.text(&[0, 1, 3]), "\u{FFFD}\u{FFFD}b");
        let plain = small(
            r#"{"tokenizer.ggml.add_space_prefix": false, "tokenizer.ggml.add_bos_token": false}"#,
        );
        assert_eq!(plain.tokens("b b", true), [5, 4]);
        assert_eq!(plain.places("b b"), [0..1, 1..3]);
        assert_eq!(plain.text(&[4, 4]), " b b");
        let ended = small(r#"{"tokenizer.ggml.add_eos_token": true}"#);
        assert_eq!(ended.tokens("", true), [1, 2]);
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let error = |values: &str| {
            let values: Map<String, Value> = serde_json::from_str(values).unwrap();
            let values = Config::of_fields("m.gguf", values);
            Pieces::of_gguf(&values, false).unwrap_err().to_string()
        };
        assert_eq!(error("{}"), "m.gguf: tokenizer.ggml.tokens is missing");
        let found = error(r#"{"tokenizer.ggml.tokens": ["a", "b"], "tokenizer.ggml.scores": [1]}"#);
        assert!(
            found.contains("tokenizer.ggml.scores is [1]; expected a list of 2 numbers"),
            "{found}"
        );
        let found = error(
            r#"{"tokenizer.ggml.tokens": ["a"], "tokenizer.ggml.remove_extra_whitespaces": true}"#,
        );
        assert!(
            found.contains("remove_extra_whitespaces is true, and this build opens only"),
            "{found}"
        );
        let found = error(r#"{"tokenizer.ggml.tokens": ["a"], "tokenizer.ggml.bos_token_id": 1}"#);
        assert!(
            found.contains("bos_token_id is 1; expected a whole number from 0 to 0"),
            "{found}"
        );
    }
}
