//! [`open`]: the tokenizer of a directory.

use tokenizers::normalizers::{BertNormalizer, Lowercase, Sequence};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

use super::config::TokenizerConfig;
use super::patterns;
use super::sentence_pieces::{PIECES_FILES, Places, sentence_pieces};
use super::vocabularies::{Around, PAIRS_FILE, WORDS_FILE, byte_pairs, word_pieces};
use crate::artifact::{Files, corrupt};
use crate::pretrained::config::JSON_BYTES_MAX;
use crate::{Error, Result};

/// The description of a tokenizer that works without Python.
pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";

/// What a family has in place of `tokenizer.json`, if a directory has no such file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Vocabulary {
    /// Pieces of words.
    Words(Around),
    /// Pairs of bytes.
    Pairs(Around),
    /// Pieces of SentencePiece.
    Pieces(Around, Places),
    /// Nothing.
    None,
}

/// The tokenizer of these files, and the file that describes it.
///
/// # Errors
/// [`Error::Corrupt`] if there is none, or a damaged one; [`Error::Unsupported`] for one that draws tokens.
pub(crate) fn open(
    files: &Files,
    vocabulary: Vocabulary,
    config: &TokenizerConfig,
) -> Result<(Tokenizer, &'static str)> {
    if files.has(TOKENIZER_FILE) {
        let mut tokenizer = of_json(files)?;
        if config.overrides()? {
            set_options(&mut tokenizer, config)?;
        }
        return Ok((tokenizer, TOKENIZER_FILE));
    }
    match vocabulary {
        Vocabulary::Words(around) if files.has(WORDS_FILE) => {
            Ok((word_pieces(files, config, &around)?, WORDS_FILE))
        }
        Vocabulary::Pairs(around) if files.has(PAIRS_FILE) => {
            Ok((byte_pairs(files, config, &around)?, PAIRS_FILE))
        }
        Vocabulary::Pieces(around, places) => {
            let name = PIECES_FILES.into_iter().find(|name| files.has(name));
            let name = name.ok_or_else(|| missing(vocabulary))?;
            let tokenizer = sentence_pieces((files, name), config, &around, places)?;
            Ok((tokenizer, name))
        }
        _ => Err(missing(vocabulary)),
    }
}

/// The tokenizer that `tokenizer.json` describes.
///
/// # Errors
/// Those of [`open`].
pub(crate) fn of_json(files: &Files) -> Result<Tokenizer> {
    if !files.has(TOKENIZER_FILE) {
        return Err(missing(Vocabulary::None));
    }
    let content = files.read(TOKENIZER_FILE, JSON_BYTES_MAX)?;
    patterns::check(TOKENIZER_FILE, &content)?;
    Tokenizer::from_bytes(content).map_err(|error| corrupt(TOKENIZER_FILE, error))
}

fn missing(vocabulary: Vocabulary) -> Error {
    let other = match vocabulary {
        Vocabulary::Words(_) => format!(", and no {WORDS_FILE}"),
        Vocabulary::Pairs(_) => format!(", and no {PAIRS_FILE}"),
        Vocabulary::Pieces(..) => format!(", and none of {}", PIECES_FILES.join(", ")),
        Vocabulary::None => String::new(),
    };
    let what = format!(
        "the directory has no such file{other}; load the tokenizer in Python with AutoTokenizer.from_pretrained, and save it \
         with save_pretrained"
    );
    corrupt(TOKENIZER_FILE, what)
}

/// Sets what `tokenizer_config.json` says otherwise.
fn set_options(tokenizer: &mut Tokenizer, config: &TokenizerConfig) -> Result<()> {
    let wrong = |error: tokenizers::Error| corrupt(TOKENIZER_FILE, error);
    let lower = config.flag("do_lower_case")?;
    let accents = config.flag("strip_accents")?;
    let chinese = config.flag("tokenize_chinese_chars")?;
    if let Some(NormalizerWrapper::BertNormalizer(normalizer)) = tokenizer.get_normalizer() {
        let found = *normalizer;
        let wanted = BertNormalizer::new(
            found.clean_text,
            chinese.unwrap_or(found.handle_chinese_chars),
            accents.or(found.strip_accents),
            lower.unwrap_or(found.lowercase),
        );
        tokenizer.with_normalizer(Some(wanted)).map_err(wrong)?;
    }
    if let Some(PreTokenizerWrapper::ByteLevel(splitter)) = tokenizer.get_pre_tokenizer() {
        let mut splitter = *splitter;
        let adds_space = config.flag("add_prefix_space")?;
        splitter.add_prefix_space = adds_space.unwrap_or(splitter.add_prefix_space);
        tokenizer.with_pre_tokenizer(Some(splitter));
    }
    Ok(())
}

/// Makes the letters of a text small before anything else happens to it.
///
/// # Errors
/// [`Error::Corrupt`] if the tokenizer refuses it.
pub(crate) fn make_lower(tokenizer: &mut Tokenizer) -> Result<()> {
    let before = tokenizer.get_normalizer().cloned();
    let all = [NormalizerWrapper::Lowercase(Lowercase)].into_iter();
    let all = Sequence::new(all.chain(before).collect());
    let changed = tokenizer.with_normalizer(Some(all));
    changed.map_err(|error| corrupt(TOKENIZER_FILE, error))?;
    Ok(())
}
