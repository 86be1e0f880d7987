//! [`TaskTokens`]: texts and pairs of texts as tokens, with what a task needs to know of them: their places in the text, and the mask.

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::decoders::metaspace::Metaspace;
use tokenizers::decoders::wordpiece::WordPiece;
use tokenizers::{
    DecoderWrapper, Encoding, ModelWrapper, Tokenizer, TruncationParams, TruncationStrategy,
};

use super::entities::Span;
use crate::Result;
use crate::artifact::corrupt;
use crate::model::tokens::{TokenCount, Tokens};
use crate::pretrained::texts::tokens::config::TokenizerConfig;
use crate::pretrained::texts::tokens::tokenizer::Limits;

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
    /// The file of the tokenizer.
    file: &'static str,
    limits: Limits,
    /// The tokens that it adds to one text, and to two.
    added: [usize; 2],
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
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl TaskTokens {
    /// The tokens for a model with these limits; `tokenizer` is that of a file of this name.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the tokenizer adds so many tokens to a text or a pair that neither has room.
    pub(super) fn new(
        (mut tokenizer, file): (Tokenizer, &'static str),
        limits: Limits,
        config: &TokenizerConfig,
    ) -> Result<Self> {
        let wrong = |error: tokenizers::Error| corrupt(file, error);
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(wrong)?;
        let one = tokenizer.encode_fast("", true).map_err(wrong)?.len();
        let two = tokenizer.encode_fast(("", ""), true).map_err(wrong)?.len();
        let model = limits.tokens;
        if one.max(two) >= model {
            let what = format!(
                "adds {one} tokens to a text and {two} to two texts, the model takes {model}"
            );
            return Err(corrupt(file, what));
        }
        limit(&mut tokenizer, model, TruncationStrategy::LongestFirst).map_err(wrong)?;
        if tokenizer.get_decoder().is_none() {
            let decoder = decoder(&tokenizer);
            tokenizer.with_decoder(Some(decoder));
        }
        let special = config.special(&[""; 5])?;
        let mut masks = [special.mask.as_str()].into_iter().chain(MASKS);
        let mask = masks.find_map(|text| {
            let id = tokenizer.token_to_id(text)?;
            let text = text.to_owned();
            Some(Special { text, id })
        });
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
            unknown: tokenizer.token_to_id(&special.unknown),
            marks_subwords,
            tokenizer,
            file,
            only_first: OnceLock::new(),
            unlimited: OnceLock::new(),
            limits,
            added: [one, two],
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
        // A tokenizer with a limit stops at it in each text, and then does not know which of both is longer.
        let split = |text| self.unlimited().encode(self.cut(text), false);
        let (first, second) = (split(first), split(second));
        let (first, second) = (first.map_err(text_of)?, second.map_err(text_of)?);
        let pair = self.tokenizer.post_process(first, Some(second), true);
        self.encoded(&pair.map_err(text_of)?)
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
            let _ = limit(&mut tokenizer, self.limits.tokens, strategy);
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
        self.limits.tokens - self.added[1]
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
                mask.text, self.limits.tokens
            )),
            several => Err(format!(
                "there are {} {}, and the model fills one",
                several.len(),
                mask.text
            )),
        }
    }

    /// The text of the token for a gap, if there is one.
    pub(super) fn mask(&self) -> Option<&str> {
        self.mask.as_ref().map(|mask| mask.text.as_str())
    }

    /// The text of tokens, without those that begin and end a text.
    pub(super) fn decode(&self, ids: &[u32]) -> Result<String> {
        let decoded = self.tokenizer.decode(ids, true);
        decoded.map_err(|error| corrupt(self.file, error))
    }

    /// The text of one token.
    pub(super) fn decode_one(&self, id: u32) -> Result<String> {
        let decoded = self.tokenizer.decode(&[id], false);
        decoded.map_err(|error| corrupt(self.file, error))
    }

    /// The tokenizer without a limit.
    fn unlimited(&self) -> &Tokenizer {
        self.unlimited.get_or_init(|| {
            let mut tokenizer = self.tokenizer.clone();
            // Only a limit that is too low would be an error.
            let _ = tokenizer.with_truncation(None);
            tokenizer
        })
    }

    fn cut<'a>(&self, text: &'a str) -> &'a str {
        &text[..text.floor_char_boundary(self.limits.tokens * TOKEN_BYTES_MAX)]
    }

    fn encoded(&self, encoding: &Encoding) -> Result<Encoded, String> {
        let Limits {
            vocabulary, types, ..
        } = self.limits;
        let (ids, of_types) = (encoding.get_ids(), encoding.get_type_ids());
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(format!(
                "its token {id} is none of the {vocabulary} that the model knows"
            ));
        }
        if let Some(of) = of_types.iter().find(|of| **of as usize >= types) {
            return Err(format!(
                "its type of tokens {of} is none of the {types} that the model knows"
            ));
        }
        // Some tokenizers add nothing to a text without tokens.
        if ids.is_empty() {
            return Err("it has no tokens".into());
        }
        Ok(Encoded {
            ids: ids.to_vec(),
            types: of_types.to_vec(),
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
        self.limits.tokens - self.added[0]
    }

    fn count(&self, text: &str) -> Result<TokenCount, String> {
        let (tokens, is_cut) = self.length(text)?;
        let tokens_max = self.limits.tokens - self.added[0];
        Ok(TokenCount {
            tokens: tokens.min(tokens_max) + self.added[0],
            is_cut: is_cut || tokens > tokens_max,
        })
    }

    fn places(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        let encoded = self.unlimited().encode(text, false).map_err(text_of)?;
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

/// The way from tokens to a text for a tokenizer whose files do not say it.
fn decoder(tokenizer: &Tokenizer) -> DecoderWrapper {
    match tokenizer.get_model() {
        ModelWrapper::WordPiece(_) | ModelWrapper::WordLevel(_) => {
            DecoderWrapper::WordPiece(WordPiece::default())
        }
        ModelWrapper::BPE(_) => DecoderWrapper::ByteLevel(ByteLevel::default()),
        ModelWrapper::Unigram(_) => DecoderWrapper::Metaspace(Metaspace::default()),
    }
}
