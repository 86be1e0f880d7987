//! [`PromptTokenizer`]: prompts as tokens, and tokens as text.

use std::fmt;
use std::ops::Range;

use tokenizers::Tokenizer;

use super::byte_pairs::byte_pairs;
use super::pieces::Pieces;
use crate::Result;
use crate::artifact::{Files, corrupt};
use crate::pretrained::config::Config;
use crate::pretrained::texts::tokens::files::{TOKENIZER_FILE, of_json};

/// A token has fewer bytes of text than this.
const TOKEN_BYTES_MAX: usize = 256;
/// About the bytes of a token in the tables of a tokenizer.
const TABLE_BYTES: usize = 256;

/// The tokenizer of a model that writes text.
pub(crate) struct PromptTokenizer {
    kind: Kind,
    /// The number of different tokens that the model knows.
    vocabulary: usize,
}

enum Kind {
    /// As `tokenizer.json` describes it.
    Described(Box<Tokenizer>),
    Pieces(Box<Pieces>),
}

impl fmt::Debug for PromptTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Described(_) => "Described",
            Kind::Pieces(_) => "Pieces",
        };
        write!(f, "{kind}({} tokens)", self.vocabulary)
    }
}

impl PromptTokenizer {
    /// The tokenizer in the files of Hugging Face.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if there is none.
    pub(crate) fn read(files: &Files, vocabulary: usize) -> Result<Self> {
        Self::described(TOKENIZER_FILE, of_json(files)?, vocabulary)
    }

    /// The tokenizer of the values of a file in GGUF, whose tokens are pairs of bytes.
    ///
    /// # Errors
    /// Those of [`byte_pairs`]; [`Error::Corrupt`](crate::Error::Corrupt) for pairs of tokens that are not there.
    pub(crate) fn of_byte_pairs(values: &Config, vocabulary: usize) -> Result<Self> {
        let wrong = |error: tokenizers::Error| corrupt(values.file(), error);
        let json = serde_json::to_vec(&byte_pairs(values)?);
        let json = json.map_err(|error| wrong(error.into()))?;
        let tokenizer = Tokenizer::from_bytes(json).map_err(wrong)?;
        Self::described(values.file(), tokenizer, vocabulary)
    }

    /// A tokenizer that a file describes, without padding and without a limit.
    fn described(file: &str, mut tokenizer: Tokenizer, vocabulary: usize) -> Result<Self> {
        tokenizer.with_padding(None);
        let unlimited = tokenizer.with_truncation(None);
        unlimited.map_err(|error| corrupt(file, error))?;
        Ok(Self {
            kind: Kind::Described(Box::new(tokenizer)),
            vocabulary,
        })
    }

    /// A tokenizer of pieces.
    pub(crate) fn of_pieces(pieces: Pieces, vocabulary: usize) -> Self {
        Self {
            kind: Kind::Pieces(Box::new(pieces)),
            vocabulary,
        }
    }

    /// The tokens of a text of fewer than `tokens_max` tokens; with those that begin and end each text if it is `whole`.
    ///
    /// # Errors
    /// Why the text has no tokens that the model takes.
    pub(crate) fn tokens(
        &self,
        text: &str,
        whole: bool,
        tokens_max: usize,
    ) -> Result<Vec<u32>, String> {
        let too_long = |found: &str| {
            format!("it has {found} tokens, and the model takes fewer than {tokens_max}")
        };
        if text.len() / TOKEN_BYTES_MAX > tokens_max {
            // Dividing it would take long.
            return Err(too_long("too many"));
        }
        let tokens = match &self.kind {
            Kind::Described(tokenizer) => {
                let encoded = tokenizer.encode_fast(text, whole);
                let encoded = encoded.map_err(|error| error.to_string())?;
                encoded.get_ids().to_vec()
            }
            Kind::Pieces(pieces) => pieces.tokens(text, whole),
        };
        let mut all = tokens.iter();
        if let Some(token) = all.find(|token| **token as usize >= self.vocabulary) {
            return Err(format!(
                "its token {token} is none of the {} that the model knows",
                self.vocabulary
            ));
        }
        match tokens.len() < tokens_max {
            true => Ok(tokens),
            false => Err(too_long(&tokens.len().to_string())),
        }
    }

    /// The place of each token in a text, in bytes, without those that begin and end each text.
    ///
    /// # Errors
    /// Why the text has no tokens.
    pub(crate) fn places(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        match &self.kind {
            Kind::Described(tokenizer) => {
                let encoded = tokenizer.encode(text, false);
                let encoded = encoded.map_err(|error| error.to_string())?;
                let places = encoded.get_offsets().iter();
                Ok(places.map(|(start, end)| *start..*end).collect())
            }
            Kind::Pieces(pieces) => Ok(pieces.places(text)),
        }
    }

    /// The text of tokens, without those that begin or end something.
    ///
    /// # Errors
    /// Why the tokens have no text.
    pub(crate) fn text(&self, tokens: &[u32]) -> Result<String, String> {
        match &self.kind {
            Kind::Described(tokenizer) => {
                let text = tokenizer.decode(tokens, true);
                text.map_err(|error| error.to_string())
            }
            Kind::Pieces(pieces) => Ok(pieces.text(tokens)),
        }
    }

    /// About the memory of the tables in bytes.
    pub(crate) fn table_bytes(&self) -> usize {
        match &self.kind {
            Kind::Described(tokenizer) => tokenizer.get_vocab_size(true) * TABLE_BYTES,
            Kind::Pieces(pieces) => pieces.table_bytes(),
        }
    }
}
