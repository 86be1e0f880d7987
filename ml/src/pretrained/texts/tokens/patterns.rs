//! What `tokenizer.json` asks for, checked before it is used: regular expressions that end, tables with the size that they say, and
//! no draws.

use fancy_regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::artifact::corrupt;
use crate::{Error, Result};

/// The length of a text on which patterns are tried.
const TRIED_CHARACTERS: usize = 400;

/// The parts of the file with patterns and draws.
#[derive(Debug, Deserialize)]
struct Parts {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    model: Option<Draws>,
}

#[derive(Debug, Deserialize)]
struct Draws {
    dropout: Option<f64>,
}

/// Checks the content of a file of this name.
///
/// # Errors
/// [`Error::Corrupt`] for a file that is none, for a pattern that takes too long, and for a table that ends early;
/// [`Error::Unsupported`] for tokens that are drawn.
pub(crate) fn check(file: &str, content: &[u8]) -> Result<()> {
    let parts: Parts = serde_json::from_slice(content).map_err(|error| corrupt(file, error))?;
    if parts.model.and_then(|model| model.dropout) > Some(0.0) {
        return Err(Error::Unsupported(format!(
            "{file}: dropout draws tokens, so that a text has different ones each time; set it to null"
        )));
    }
    for part in [parts.normalizer, parts.pre_tokenizer].iter().flatten() {
        check_part(file, part)?;
    }
    Ok(())
}

fn check_part(file: &str, part: &Value) -> Result<()> {
    match part {
        Value::Array(items) => items.iter().try_for_each(|item| check_part(file, item)),
        Value::Object(fields) => {
            fields
                .iter()
                .try_for_each(|(name, value)| match (name.as_str(), value) {
                    ("Regex", Value::String(pattern)) => check_pattern(file, pattern),
                    ("precompiled_charsmap", Value::String(table)) => {
                        let bytes = table.len() / 4 * 3;
                        check_table(file, from_base64(table.as_bytes()), bytes)
                    }
                    (_, value) => check_part(file, value),
                })
        }
        _ => Ok(()),
    }
}

/// Tries a pattern on texts of one kind of characters each, which end with another: what is left to try there doubles with each
/// character if a pattern repeats what is repeated.
fn check_pattern(file: &str, pattern: &str) -> Result<()> {
    let shown: String = pattern.chars().take(80).collect();
    let wrong = |what: &dyn std::fmt::Display| {
        corrupt(file, format!("the regular expression \"{shown}\" {what}"))
    };
    let regex = Regex::new(pattern).map_err(|error| wrong(&format!("is none: {error}")))?;
    for part in [
        "a", "A", "0", " ", "\n", "!", "é", "中", "ab", "a ", "a1", "a,",
    ] {
        let mut text = part.repeat(TRIED_CHARACTERS / part.chars().count());
        text.push('§');
        // A search gives up after a million steps back.
        if regex.find_iter(&text).any(|found| found.is_err()) {
            return Err(wrong(&"takes too long on a text"));
        }
    }
    Ok(())
}

/// Compares the size at the beginning of a table with so many bytes with them. A reader would take as much memory.
pub(crate) fn check_table(file: &str, first: Option<[u8; 4]>, bytes: usize) -> Result<()> {
    let size = first.map(|first| u32::from_le_bytes(first) as usize);
    match size.is_some_and(|size| size <= bytes) {
        true => Ok(()),
        false => Err(corrupt(file, "the table of characters ends early")),
    }
}

/// The first four bytes of a text in base 64.
fn from_base64(text: &[u8]) -> Option<[u8; 4]> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = 0u64;
    for character in text.first_chunk::<6>()? {
        let digit = DIGITS.iter().position(|digit| digit == character)?;
        bits = bits << 6 | digit as u64;
    }
    // Six digits are 36 bits, of which the first 32 are wanted.
    Some(((bits >> 4) as u32).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(content: &str) -> String {
        check("t.json", content.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn patterns_that_never_end_are_refused() {
        let split = |pattern: &str| {
            serde_json::json!({
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}]},
                "model": {"type": "BPE", "dropout": null, "vocab": {}, "merges": []}
            })
            .to_string()
        };
        // The pattern of GPT-2.
        let usual = r"'s|'t|'re| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
        check("t.json", split(usual).as_bytes()).unwrap();
        // Without looking around, or at the end only, no pattern steps back.
        check("t.json", split(r"(a+)+$").as_bytes()).unwrap();
        let expected = "t.json: the regular expression \"(a+)+(?!c)b\" takes too long on a text";
        assert_eq!(message(&split(r"(a+)+(?!c)b")), expected);
        assert!(message(&split("(")).contains("is none: "));
    }

    #[test]
    fn draws_and_tables_that_end_early_are_refused() {
        let drawn = r#"{"model": {"type": "BPE", "dropout": 0.1}}"#;
        assert!(message(drawn).contains("dropout draws tokens"));
        // 8 bytes, the first four of which say 4, or 255.
        let table = |text: &str| {
            format!(
                r#"{{"normalizer": {{"type": "Precompiled", "precompiled_charsmap": "{text}"}}}}"#
            )
        };
        check("t.json", table("BAAAAAEAAAA=").as_bytes()).unwrap();
        for text in ["/wAAAAEAAAA=", "BA", "", "!!!!!!!!"] {
            assert!(message(&table(text)).ends_with("the table of characters ends early"));
        }
        assert!(message("[]").starts_with("t.json: "));
        assert_eq!(from_base64(b"AQIDBAUG"), Some([1, 2, 3, 4]));
    }
}
