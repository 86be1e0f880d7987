//! [`TokenizerConfig`]: what `tokenizer_config.json` and `special_tokens_map.json` say about a tokenizer.

use serde_json::Value;

use crate::Result;
use crate::artifact::Files;
use crate::pretrained::config::{Config, JSON_BYTES_MAX};

const CONFIG_FILE: &str = "tokenizer_config.json";
const SPECIAL_FILE: &str = "special_tokens_map.json";
/// Longer lengths mean that there is no limit.
const LENGTH_MAX: f64 = 1e9;

/// The settings of a tokenizer. Without files, all have their defaults.
#[derive(Debug)]
pub(crate) struct TokenizerConfig {
    /// The first file that has a setting counts.
    files: Vec<Config>,
}

/// The tokens with a meaning of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpecialTokens {
    /// Begins a text.
    pub(crate) first: String,
    /// Ends a text.
    pub(crate) last: String,
    pub(crate) unknown: String,
    pub(crate) padding: String,
    /// Stands for a token to predict.
    pub(crate) mask: String,
}

impl SpecialTokens {
    /// All of them.
    pub(crate) fn all(&self) -> [&str; 5] {
        [
            &self.first,
            &self.last,
            &self.unknown,
            &self.padding,
            &self.mask,
        ]
    }
}

impl TokenizerConfig {
    /// Reads the files that are there.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for a file that is no JSON object.
    pub(crate) fn read(files: &Files) -> Result<Self> {
        let names = [CONFIG_FILE, SPECIAL_FILE].into_iter();
        let found = names.filter(|name| files.has(name));
        let read = found.map(|name| Config::parse(name, &files.read(name, JSON_BYTES_MAX)?));
        Ok(Self {
            files: read.collect::<Result<_>>()?,
        })
    }

    fn file(&self, name: &str) -> Option<&Config> {
        self.files.iter().find(|file| file.get(name).is_some())
    }

    /// The flag of this name, if there is one.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>> {
        let file = self.file(name);
        file.map(|file| file.flag(name, false)).transpose()
    }

    /// Whether the settings hold for `tokenizer.json`, too: some classes of tokenizers leave it as it is.
    pub(crate) fn overrides(&self) -> Result<bool> {
        let name = "tokenizer_class";
        let class = self.file(name).map(|file| file.text(name)).transpose()?;
        let plain = ["PreTrainedTokenizerFast", "TokenizersBackend"];
        Ok(!class.flatten().is_some_and(|class| plain.contains(&class)))
    }

    /// The most tokens of a text, if there is a limit.
    pub(crate) fn tokens_max(&self) -> Result<Option<usize>> {
        let name = "model_max_length";
        let Some(file) = self.file(name) else {
            return Ok(None);
        };
        match file.number(name, LENGTH_MAX)? >= LENGTH_MAX {
            true => Ok(None),
            false => file.whole(name, None, 1..=LENGTH_MAX as usize).map(Some),
        }
    }

    /// The special tokens, with these defaults.
    pub(crate) fn special(&self, defaults: &[&str; 5]) -> Result<SpecialTokens> {
        let token = |name: &str, default: &str| -> Result<String> {
            let Some(file) = self.file(name) else {
                return Ok(default.to_owned());
            };
            // A token with options is an object.
            match file.get(name) {
                Some(Value::Object(_)) => {
                    let object = file.section_or_empty(name)?;
                    let content = object.text("content")?;
                    Ok(content.unwrap_or(default).to_owned())
                }
                _ => Ok(file.text(name)?.unwrap_or(default).to_owned()),
            }
        };
        let [first, last, unknown, padding, mask] = defaults;
        Ok(SpecialTokens {
            first: token("cls_token", first)?,
            last: token("sep_token", last)?,
            unknown: token("unk_token", unknown)?,
            padding: token("pad_token", padding)?,
            mask: token("mask_token", mask)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> TokenizerConfig {
        TokenizerConfig {
            files: vec![Config::parse(CONFIG_FILE, text.as_bytes()).unwrap()],
        }
    }

    #[test]
    fn settings_have_defaults() {
        let none = TokenizerConfig { files: vec![] };
        assert_eq!(none.flag("do_lower_case").unwrap(), None);
        assert_eq!(none.tokens_max().unwrap(), None);
        assert!(none.overrides().unwrap());
        let defaults = ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"];
        assert_eq!(none.special(&defaults).unwrap().all(), defaults);
        let some = config(
            r#"{"do_lower_case": false, "model_max_length": 512, "cls_token": "<s>", "sep_token": {"content": "</s>"},
                "tokenizer_class": "TokenizersBackend"}"#,
        );
        assert_eq!(some.flag("do_lower_case").unwrap(), Some(false));
        assert_eq!(some.tokens_max().unwrap(), Some(512));
        assert!(!some.overrides().unwrap());
        let special = some.special(&defaults).unwrap();
        assert_eq!(special.all(), ["<s>", "</s>", "[UNK]", "[PAD]", "[MASK]"]);
        let unlimited = config(r#"{"model_max_length": 1000000000000000019884624838656}"#);
        assert_eq!(unlimited.tokens_max().unwrap(), None);
        assert!(config(r#"{"model_max_length": 0}"#).tokens_max().is_err());
    }
}
