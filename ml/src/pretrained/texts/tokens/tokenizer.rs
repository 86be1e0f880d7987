//! [`TextTokenizer`]: texts as the numbers of their tokens, within the limits of a model.

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use tokenizers::{Encoding, Tokenizer, TruncationParams};

use super::files::{TOKENIZER_FILE, of_json};
use crate::Result;
use crate::artifact::{Files, corrupt};

/// A token has fewer bytes of text than this, so the rest of a long text is cut off before it is split into tokens.
const TOKEN_BYTES_MAX: usize = 256;
/// The bytes for each token of the first part of a long text, which is tried alone.
const TOKEN_BYTES_FIRST: usize = 16;

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most tokens of a text, with those that begin and end it.
    pub(crate) tokens: usize,
    /// The number of different tokens.
    pub(crate) vocabulary: usize,
    /// The number of different types of tokens.
    pub(crate) types: usize,
}

/// The tokens of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) ids: Vec<u32>,
    /// The type of each token: 0 in the first text of a pair, 1 in the second.
    pub(crate) types: Vec<u32>,
    /// Whether the text has more tokens than the model takes.
    pub(crate) is_cut: bool,
}

/// A tokenizer for texts of up to a number of tokens.
pub(crate) struct TextTokenizer {
    tokenizer: Tokenizer,
    /// The same without a limit, once a text is to be divided.
    unlimited: OnceLock<Tokenizer>,
    limits: Limits,
    /// The tokens that it adds to each text.
    added: usize,
}

impl fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextTokenizer")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl TextTokenizer {
    /// The tokenizer in `tokenizer.json` for a model that takes up to `tokens_max` tokens, each below `vocabulary`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the file is missing or no tokenizer, or if it adds more tokens to each text
    /// than the model takes.
    pub(crate) fn read(files: &Files, tokens_max: usize, vocabulary: usize) -> Result<Self> {
        let limits = Limits {
            tokens: tokens_max,
            vocabulary,
            types: usize::MAX,
        };
        Self::new(of_json(files)?, TOKENIZER_FILE, limits)
    }

    /// A tokenizer of a file of this name, for a model with these limits. How the file pads and cuts texts does not count.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if it adds more tokens to each text than the model takes.
    pub(crate) fn new(mut tokenizer: Tokenizer, file: &str, limits: Limits) -> Result<Self> {
        let wrong = |error: tokenizers::Error| corrupt(file, error);
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(wrong)?;
        let added = tokenizer.encode_fast("", true).map_err(wrong)?.len();
        if added >= limits.tokens {
            let model = limits.tokens;
            let what = format!("adds {added} tokens to each text, the model takes {model}");
            return Err(corrupt(file, what));
        }
        let truncation = TruncationParams {
            max_length: limits.tokens,
            ..TruncationParams::default()
        };
        tokenizer.with_truncation(Some(truncation)).map_err(wrong)?;
        Ok(Self {
            tokenizer,
            unlimited: OnceLock::new(),
            limits,
            added,
        })
    }

    /// What the model takes.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The most tokens of a text, without those that the tokenizer adds.
    pub(crate) fn text_tokens_max(&self) -> usize {
        self.limits.tokens - self.added
    }

    /// [`TextTokenizer::tokens`] of a text with another one before it.
    ///
    /// # Errors
    /// Those of [`TextTokenizer::tokens`].
    pub(crate) fn tokens_with(&self, before: &str, text: &str) -> Result<Tokens, String> {
        if before.is_empty() {
            return self.tokens(text);
        }
        let all = self.limits.tokens.saturating_mul(TOKEN_BYTES_MAX);
        let part = part_of(text, all);
        let mut tokens = self.tokens(&format!("{before}{part}"))?;
        tokens.is_cut |= part.len() < text.len();
        Ok(tokens)
    }

    /// The tokens of a text, with those that begin and end it. The end of a long text is left out.
    ///
    /// # Errors
    /// Why the text has no tokens that the model knows.
    pub(crate) fn tokens(&self, text: &str) -> Result<Tokens, String> {
        let all = self.limits.tokens.saturating_mul(TOKEN_BYTES_MAX);
        let mut bytes = self.limits.tokens.saturating_mul(TOKEN_BYTES_FIRST);
        while bytes < text.len().min(all) {
            let part = part_of(text, bytes);
            let encoded = self.tokenizer.encode(part, true);
            let encoded = encoded.map_err(|error| error.to_string())?;
            let ends = encoded.get_offsets().iter().map(|(_, end)| *end);
            // Near the end of a part, tokens may be others than in the whole text.
            let is_far_from_end = ends.max().unwrap_or(0) <= part.len() / 4 * 3;
            if encoded.len() >= self.limits.tokens && is_far_from_end {
                return self.checked(&encoded, true);
            }
            bytes = bytes.saturating_mul(4);
        }
        let part = part_of(text, all);
        let encoded = self.tokenizer.encode_fast(part, true);
        let encoded = encoded.map_err(|error| error.to_string())?;
        self.checked(&encoded, part.len() < text.len())
    }

    /// The place of each token in a text of any length, in bytes, without the tokens that the tokenizer adds.
    ///
    /// # Errors
    /// Why the text has no tokens.
    pub(crate) fn places(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        let unlimited = self.unlimited.get_or_init(|| {
            let mut tokenizer = self.tokenizer.clone();
            // Only a limit that is too low would be an error.
            let _ = tokenizer.with_truncation(None);
            tokenizer
        });
        let encoded = unlimited.encode(text, false);
        let encoded = encoded.map_err(|error| error.to_string())?;
        let places = encoded.get_offsets().iter();
        Ok(places.map(|(start, end)| *start..*end).collect())
    }

    /// The tokens of an encoding, all of which the model knows.
    ///
    /// # Errors
    /// The first that the model does not know.
    fn checked(&self, encoding: &Encoding, is_part: bool) -> Result<Tokens, String> {
        let Limits {
            vocabulary, types, ..
        } = self.limits;
        let (ids, of_types) = (encoding.get_ids(), encoding.get_type_ids());
        if let Some(token) = ids.iter().find(|token| **token as usize >= vocabulary) {
            return Err(format!(
                "its token {token} is none of the {vocabulary} that the model knows"
            ));
        }
        if let Some(of) = of_types.iter().find(|of| **of as usize >= types) {
            return Err(format!(
                "its type of tokens {of} is none of the {types} that the model knows"
            ));
        }
        Ok(Tokens {
            ids: ids.to_vec(),
            types: of_types.to_vec(),
            is_cut: is_part || !encoding.get_overflowing().is_empty(),
        })
    }
}

/// The beginning of a text of at most so many bytes, up to the end of a word if there is one.
fn part_of(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let part = &text[..text.floor_char_boundary(bytes)];
    match part.trim_end_matches(|c: char| !c.is_whitespace()) {
        "" => part,
        words => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_texts_end_with_words() {
        assert_eq!(part_of("one two", 9), "one two");
        assert_eq!(part_of("one two three", 9), "one two ");
        assert_eq!(part_of("éééé", 5), "éé");
        assert_eq!(part_of("one", 0), "");
    }

    /// Letters are tokens.
    fn letters() -> Tokenizer {
        let json = serde_json::json!({
            "version": "1.0", "truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
            "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
                        "pad_token": "a"},
            "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
            "post_processor": {"type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "b", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"b": {"id": "b", "ids": [1], "tokens": ["b"]}}},
            "decoder": null,
            "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, " ": 2, "?": 3}, "unk_token": "?"},
        });
        Tokenizer::from_bytes(json.to_string()).unwrap()
    }

    fn tokenizer(vocabulary: usize, types: usize) -> TextTokenizer {
        let limits = Limits {
            tokens: 4,
            vocabulary,
            types,
        };
        TextTokenizer::new(letters(), "t.json", limits).unwrap()
    }

    #[test]
    fn long_texts_are_cut_and_short_ones_not_padded() {
        let tokenizer = tokenizer(4, 2);
        let tokens = |text: &str| {
            let tokens = tokenizer.tokens(text).unwrap();
            (tokens.ids, tokens.is_cut)
        };
        assert_eq!(tokens("ab"), (vec![0, 1, 1], false));
        assert_eq!(tokens("ab ab"), (vec![0, 1, 2, 1], true));
        assert_eq!(tokens(&"ab ".repeat(100_000)), (vec![0, 1, 2, 1], true));
        assert_eq!(tokens(""), (vec![1], false));
        assert_eq!(tokenizer.places("ab ab a").unwrap().len(), 7);
        assert_eq!(tokenizer.places("aéb").unwrap(), [0..1, 1..3, 3..4]);
        assert_eq!(tokenizer.text_tokens_max(), 3);
        assert_eq!(tokenizer.tokens_with("b", "ab").unwrap().ids, [1, 0, 1, 1]);
    }

    #[test]
    fn tokens_that_the_model_does_not_know_are_named() {
        let expected = "its token 3 is none of the 3 that the model knows";
        let error = tokenizer(3, 2).tokens("?").unwrap_err();
        assert_eq!(error, expected);
        let error = tokenizer(4, 0).tokens("a").unwrap_err();
        assert_eq!(
            error,
            "its type of tokens 0 is none of the 0 that the model knows"
        );
    }
}
