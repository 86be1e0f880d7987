//! [`TextTokenizer`]: texts as the numbers of their tokens, as `tokenizer.json` describes them.

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use tokenizers::{Tokenizer, TruncationParams};

use super::config::JSON_BYTES_MAX;
use crate::Result;
use crate::artifact::{Files, corrupt};

/// The description of a tokenizer that works without Python.
const TOKENIZER_FILE: &str = "tokenizer.json";
/// A token has fewer bytes of text than this, so the rest of a long text is cut off before it is split into tokens.
const TOKEN_BYTES_MAX: usize = 256;

/// A tokenizer for texts of up to a number of tokens.
pub(super) struct TextTokenizer {
    tokenizer: Tokenizer,
    /// The same without a limit, once a text is to be divided.
    unlimited: OnceLock<Tokenizer>,
    tokens_max: usize,
    /// The tokens that it adds to each text.
    added: usize,
    /// The number of different tokens that the model knows.
    vocabulary: usize,
}

impl fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextTokenizer")
            .field("tokens_max", &self.tokens_max)
            .field("vocabulary", &self.vocabulary)
            .finish_non_exhaustive()
    }
}

impl TextTokenizer {
    /// The tokenizer of a model that takes up to `tokens_max` tokens, each below `vocabulary`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the file is missing or no tokenizer, or if it adds more tokens to each text
    /// than the model takes.
    pub(super) fn read(files: &Files, tokens_max: usize, vocabulary: usize) -> Result<Self> {
        if !files.has(TOKENIZER_FILE) {
            let what = "the directory has no such file; load the tokenizer in Python with AutoTokenizer.from_pretrained, and \
                        save it with save_pretrained";
            return Err(corrupt(TOKENIZER_FILE, what));
        }
        let content = files.read(TOKENIZER_FILE, JSON_BYTES_MAX)?;
        let wrong = |error: tokenizers::Error| corrupt(TOKENIZER_FILE, error);
        let mut tokenizer = Tokenizer::from_bytes(content).map_err(wrong)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(wrong)?;
        let added = tokenizer.encode_fast("", true).map_err(wrong)?.len();
        if added >= tokens_max {
            let what = format!("adds {added} tokens to each text, the model takes {tokens_max}");
            return Err(corrupt(TOKENIZER_FILE, what));
        }
        let truncation = TruncationParams {
            max_length: tokens_max,
            ..TruncationParams::default()
        };
        tokenizer.with_truncation(Some(truncation)).map_err(wrong)?;
        Ok(Self {
            tokenizer,
            unlimited: OnceLock::new(),
            tokens_max,
            added,
            vocabulary,
        })
    }

    /// The most tokens of a text, without those that the tokenizer adds.
    pub(super) fn text_tokens_max(&self) -> usize {
        self.tokens_max - self.added
    }

    /// The tokens of a text, with those that begin and end it, and whether the end of the text is left out because it is long.
    ///
    /// # Errors
    /// Why the text has no tokens that the model knows.
    pub(super) fn tokens(&self, text: &str) -> Result<(Vec<u32>, bool), String> {
        let end = text.floor_char_boundary(self.tokens_max * TOKEN_BYTES_MAX);
        let encoded = self.tokenizer.encode_fast(&text[..end], true);
        let encoded = encoded.map_err(|error| error.to_string())?;
        let tokens = encoded.get_ids();
        let is_cut = end < text.len() || !encoded.get_overflowing().is_empty();
        match tokens
            .iter()
            .find(|token| **token as usize >= self.vocabulary)
        {
            None => Ok((tokens.to_vec(), is_cut)),
            Some(token) => Err(format!(
                "its token {token} is none of the {} that the model knows",
                self.vocabulary
            )),
        }
    }

    /// The place of each token in a text of any length, in bytes, without the tokens that the tokenizer adds.
    ///
    /// # Errors
    /// Why the text has no tokens.
    pub(super) fn places(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
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
}
