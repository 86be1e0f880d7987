//! [`TaskTokens`]: texts and pairs of texts as tokens, with what a task needs to know of them: their places in the text, and the mask.

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use serde_json::Value;
use tokenizers::{Encoding, ModelWrapper, Tokenizer, TruncationParams, TruncationStrategy};

use super::entities::Span;
use crate::Result;
use crate::artifact::{Files, corrupt};
use crate::model::tokens::{TokenCount, Tokens};
use crate::pretrained::config::{Config, JSON_BYTES_MAX};

const TOKENIZER_FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";
/// A token has fewer bytes of text than this, so the rest of a long text is cut off before it is split into tokens.
const TOKEN_BYTES_MAX: usize = 256;
/// What stands for a gap in a text if no description says it.
const MASKS: [&str; 2] = ["[MASK]", "<mask>"];

/// The tokens of a text or of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoded {
    pub(super) ids: Vec<u32>,
    /// 0 in the first text, 1 in the second, as far as the tokenizer tells them apart.
    pub(super) types: Vec<u32>,
}

impl Encoded {
    /// One token: that of a row without texts, so that each row has a vector.
    pub(super) fn nothing() -> Self {
        Self {
            ids: vec![0],
            types: vec![0],
        }
    }
}

/// A tokenizer for a task.
pub(super) struct TaskTokens {
    /// Cuts the longer one of two texts.
    tokenizer: Tokenizer,
    /// Cuts the first of two texts only; made when it is first needed.
    only_first: OnceLock<Tokenizer>,
    /// Cuts nothing; made when it is first needed.
    unlimited: OnceLock<Tokenizer>,
    tokens_max: usize,
    /// The tokens that it adds to one text, and to two.
    added: [usize; 2],
    /// The number of different tokens that the model knows.
    vocabulary: usize,
    mask: Option<Special>,
    unknown: Option<u32>,
    /// Whether the tokenizer marks tokens that go on with a word.
    marks_subwords: bool,
}

/// A token with a meaning of its own.
#[derive(Debug, Clone)]
struct Special {
    text: String,
    id: u32,
}

impl fmt::Debug for TaskTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskTokens")
            .field("tokens_max", &self.tokens_max)
            .field("vocabulary", &self.vocabulary)
            .finish_non_exhaustive()
    }
}

impl TaskTokens {
    /// The tokens for a model that takes up to `tokens_max` of them, each below `vocabulary`; `tokenizer` is that of the files.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the tokenizer adds so many tokens to a pair that no text has room.
    pub(super) fn new(
        files: &Files,
        mut tokenizer: Tokenizer,
        tokens_max: usize,
        vocabulary: usize,
    ) -> Result<Self> {
        let wrong = |error: tokenizers::Error| corrupt(TOKENIZER_FILE, error);
        let config = config(files)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(wrong)?;
        let one = tokenizer.encode_fast("", true).map_err(wrong)?.len();
        let two = tokenizer.encode_fast(("", ""), true).map_err(wrong)?.len();
        if one.max(two) >= tokens_max {
            let what = format!(
                "adds {one} tokens to a text and {two} to two texts, the model takes {tokens_max}"
            );
            return Err(corrupt(TOKENIZER_FILE, what));
        }
        limit(&mut tokenizer, tokens_max, TruncationStrategy::LongestFirst).map_err(wrong)?;
        let given = special(config.as_ref(), "mask_token")?;
        let mut masks = given.into_iter().chain(MASKS.map(str::to_owned));
        let mask = masks.find_map(|text| {
            let id = tokenizer.token_to_id(&text)?;
            Some(Special { text, id })
        });
        let unknown = special(config.as_ref(), "unk_token")?;
        let marks_subwords = match tokenizer.get_model() {
            ModelWrapper::WordPiece(model) => !model.continuing_subword_prefix.is_empty(),
            ModelWrapper::BPE(model) => {
                let prefix = model.get_continuing_subword_prefix().as_ref();
                prefix.is_some_and(|prefix| !prefix.is_empty())
            }
            ModelWrapper::WordLevel(_) | ModelWrapper::Unigram(_) => false,
        };
        Ok(Self {
            mask,
            unknown: unknown.and_then(|text| tokenizer.token_to_id(&text)),
            marks_subwords,
            tokenizer,
            only_first: OnceLock::new(),
            unlimited: OnceLock::new(),
            tokens_max,
            added: [one, two],
            vocabulary,
        })
    }

    /// The tokens of a text.
    ///
    /// # Errors
    /// Why the text has no tokens that the model knows.
    pub(super) fn text(&self, text: &str) -> Result<Encoded, String> {
        self.encoded(
            &self
                .tokenizer
                .encode(self.cut(text), true)
                .map_err(text_of)?,
        )
    }

    /// The tokens of a pair; of a long pair the ends of the longer text are left out, or of both.
    ///
    /// # Errors
    /// Those of [`TaskTokens::text`].
    pub(super) fn pair(&self, first: &str, second: &str) -> Result<Encoded, String> {
        let pair = (self.cut(first), self.cut(second));
        self.encoded(&self.tokenizer.encode(pair, true).map_err(text_of)?)
    }

    /// The tokens of a pair; of a long pair the end of the first text is left out.
    ///
    /// # Errors
    /// Those of [`TaskTokens::text`], and if the second text leaves no room.
    pub(super) fn pair_with_whole_second(
        &self,
        first: &str,
        second: &str,
    ) -> Result<Encoded, String> {
        let tokenizer = self.only_first.get_or_init(|| {
            let mut tokenizer = self.tokenizer.clone();
            let strategy = TruncationStrategy::OnlyFirst;
            // Fails only for a stride that is too large, and there is none.
            let _ = limit(&mut tokenizer, self.tokens_max, strategy);
            tokenizer
        });
        let encoded = tokenizer.encode((self.cut(first), second), true);
        self.encoded(&encoded.map_err(text_of)?)
    }

    /// The tokens of a text by itself, without those that are added, and whether its end is left out.
    ///
    /// # Errors
    /// Why the text has no tokens.
    pub(super) fn length(&self, text: &str) -> Result<(usize, bool), String> {
        let cut = self.cut(text);
        let encoded = self.tokenizer.encode_fast(cut, false).map_err(text_of)?;
        let is_cut = cut.len() < text.len() || !encoded.get_overflowing().is_empty();
        Ok((encoded.len(), is_cut))
    }

    /// The most tokens of two texts, without those that are added.
    pub(super) fn pair_tokens_max(&self) -> usize {
        self.tokens_max - self.added[1]
    }

    /// The tokens of a text with their places; a token that is no part of the text has an empty place.
    ///
    /// # Errors
    /// Those of [`TaskTokens::text`].
    pub(super) fn spans(&self, text: &str) -> Result<(Encoded, Vec<Option<Span>>), String> {
        let encoded = self
            .tokenizer
            .encode(self.cut(text), true)
            .map_err(text_of)?;
        let special = encoded.get_special_tokens_mask().iter();
        let places = encoded.get_offsets().iter().zip(encoded.get_ids());
        let spans = special.zip(places).map(|(special, (place, id))| {
            (*special == 0).then(|| Span {
                start: place.0,
                end: place.1,
                is_subword: self.is_subword(text, *place, *id),
            })
        });
        let spans = spans.collect();
        Ok((self.encoded(&encoded)?, spans))
    }

    /// The tokens of a text with one mask, and the position of the mask among them.
    ///
    /// # Errors
    /// Those of [`TaskTokens::text`], and if there is no mask or more than one.
    pub(super) fn masked(&self, text: &str) -> Result<(Encoded, u32), String> {
        let Some(mask) = &self.mask else {
            return Err("the tokenizer of the model has no mask".into());
        };
        let encoded = self.text(text)?;
        let masks = (0u32..).zip(&encoded.ids);
        let masks: Vec<u32> = masks
            .filter(|(_, id)| **id == mask.id)
            .map(|(position, _)| position)
            .collect();
        match masks.as_slice() {
            [one] => Ok((encoded, *one)),
            [] => Err(format!(
                "there is no {} within its first {} tokens",
                mask.text, self.tokens_max
            )),
            several => Err(format!(
                "there are {} {}, and the model fills one",
                several.len(),
                mask.text
            )),
        }
    }

    /// Whether there is a token for a gap.
    pub(super) fn has_mask(&self) -> bool {
        self.mask.is_some()
    }

    /// The text of tokens, without those that begin and end a text.
    pub(super) fn decode(&self, ids: &[u32]) -> Result<String> {
        let decoded = self.tokenizer.decode(ids, true);
        decoded.map_err(|error| corrupt(TOKENIZER_FILE, error))
    }

    /// The text of one token.
    pub(super) fn decode_one(&self, id: u32) -> Result<String> {
        let decoded = self.tokenizer.decode(&[id], false);
        decoded.map_err(|error| corrupt(TOKENIZER_FILE, error))
    }

    fn cut<'a>(&self, text: &'a str) -> &'a str {
        &text[..text.floor_char_boundary(self.tokens_max * TOKEN_BYTES_MAX)]
    }

    fn encoded(&self, encoding: &Encoding) -> Result<Encoded, String> {
        let ids = encoding.get_ids();
        let unknown = ids.iter().find(|id| **id as usize >= self.vocabulary);
        if let Some(id) = unknown {
            return Err(format!(
                "its token {id} is none of the {} that the model knows",
                self.vocabulary
            ));
        }
        // Some tokenizers add nothing to a text without tokens.
        if ids.is_empty() {
            return Err("it has no tokens".into());
        }
        Ok(Encoded {
            ids: ids.to_vec(),
            types: encoding.get_type_ids().to_vec(),
        })
    }

    /// Whether a token goes on with the word of the token before it. Where the tokenizer does not mark such tokens, they are those
    /// without a space before them.
    fn is_subword(&self, text: &str, (start, end): (usize, usize), id: u32) -> bool {
        if self.unknown == Some(id) {
            return false;
        }
        if self.marks_subwords {
            let token = self.tokenizer.id_to_token(id).unwrap_or_default();
            let written = text.get(start..end).unwrap_or_default();
            return token.chars().count() != written.chars().count();
        }
        let before = text.get(..start).and_then(|text| text.chars().next_back());
        let first = text.get(start..).and_then(|text| text.chars().next());
        start > 0 && before != Some(' ') && first != Some(' ')
    }
}

impl Tokens for TaskTokens {
    fn tokens_max(&self) -> usize {
        self.tokens_max - self.added[0]
    }

    fn count(&self, text: &str) -> Result<TokenCount, String> {
        let (tokens, is_cut) = self.length(text)?;
        let tokens_max = self.tokens_max - self.added[0];
        Ok(TokenCount {
            tokens: tokens.min(tokens_max) + self.added[0],
            is_cut: is_cut || tokens > tokens_max,
        })
    }

    fn places(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        let unlimited = self.unlimited.get_or_init(|| {
            let mut tokenizer = self.tokenizer.clone();
            // Only a limit that is too low would be an error.
            let _ = tokenizer.with_truncation(None);
            tokenizer
        });
        let encoded = unlimited.encode(text, false).map_err(text_of)?;
        let places = encoded.get_offsets().iter();
        Ok(places.map(|(start, end)| *start..*end).collect())
    }
}

/// Cuts texts to so many tokens.
fn limit(
    tokenizer: &mut Tokenizer,
    tokens_max: usize,
    strategy: TruncationStrategy,
) -> Result<(), tokenizers::Error> {
    let truncation = TruncationParams {
        max_length: tokens_max,
        strategy,
        ..TruncationParams::default()
    };
    tokenizer.with_truncation(Some(truncation)).map(|_| ())
}

fn text_of(error: tokenizers::Error) -> String {
    error.to_string()
}

fn config(files: &Files) -> Result<Option<Config>> {
    if !files.has(CONFIG_FILE) {
        return Ok(None);
    }
    let content = files.read(CONFIG_FILE, JSON_BYTES_MAX)?;
    Config::parse(CONFIG_FILE, &content).map(Some)
}

/// The text of a special token of this name: a text, or an object with a field `content`.
fn special(config: Option<&Config>, name: &str) -> Result<Option<String>> {
    let Some(value) = config.and_then(|config| config.get(name)) else {
        return Ok(None);
    };
    let text = match value {
        Value::String(text) => Some(text.as_str()),
        other => other.get("content").and_then(Value::as_str),
    };
    let wrong = || corrupt(CONFIG_FILE, format!("{name} is {value}; expected a token"));
    text.map(|text| Some(text.to_owned())).ok_or_else(wrong)
}
