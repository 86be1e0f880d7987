//! [`byte_pairs`]: a tokenizer that joins pairs of bytes, from the values of a file in GGUF. They become the JSON of `tokenizer.json`.

use serde_json::{Map, Value, json};

use crate::pretrained::config::Config;
use crate::{Error, Result};

/// How a text is cut into words before its bytes join, by the names that GGUF has for it.
struct Words {
    names: &'static [&'static str],
    /// What a word is. The expressions are those in the files `tokenizer.json` of the models.
    expression: &'static str,
    /// Whether a word that is a token is not divided, whatever pairs join first.
    keeps_tokens: bool,
    /// Whether characters become those that Unicode composes (NFC).
    composes: bool,
    /// Whether a text begins with a token, if the file does not say it.
    begins: bool,
}

const WORDS: &[Words] = &[
    Words {
        names: &["default", "gpt-2", "phi-2", "jina-es", "mpt", "olmo"],
        expression: r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        keeps_tokens: false,
        composes: false,
        begins: false,
    },
    Words {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3"],
        expression: THREE_DIGITS,
        keeps_tokens: true,
        composes: false,
        begins: true,
    },
    Words {
        names: &["dbrx", "smaug-bpe"],
        expression: THREE_DIGITS,
        keeps_tokens: false,
        composes: false,
        begins: false,
    },
    Words {
        names: &["qwen2", "deepseek-r1-qwen"],
        expression: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        keeps_tokens: false,
        composes: true,
        begins: false,
    },
    Words {
        names: &["gpt-4o", "llama4"],
        expression: r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        keeps_tokens: false,
        composes: false,
        begins: false,
    },
];

/// Numbers in words of up to three digits.
const THREE_DIGITS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The kinds of tokens in GGUF that are found in a text before it is cut.
const CONTROL: i64 = 3;
const DEFINED: i64 = 4;

/// The description of the tokenizer as `tokenizer.json` has it.
///
/// # Errors
/// [`Error::Unsupported`] for words that are cut in a way that this build does not know; [`Error::Corrupt`] for values that do not
/// fit each other.
pub(crate) fn byte_pairs(values: &Config) -> Result<Value> {
    let words = words(values)?;
    let list = |name: &str| {
        let field = format!("tokenizer.ggml.{name}");
        let texts = values.texts(&field)?;
        texts.ok_or_else(|| values.error(&field, "is missing"))
    };
    let (tokens, merges) = (list("tokens")?, list("merges")?);
    let kinds = values.numbers("tokenizer.ggml.token_type", tokens.len())?;
    let kinds = kinds.unwrap_or_else(|| vec![1.0; tokens.len()]);
    let mut vocabulary = Map::new();
    let mut added = vec![];
    for (id, (token, kind)) in tokens.iter().zip(kinds).enumerate() {
        vocabulary.insert(token.clone(), Value::from(id));
        let kind = kind as i64;
        if matches!(kind, CONTROL | DEFINED) {
            added.push(json!({
                "id": id,
                "content": token,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": false,
                "special": kind == CONTROL,
            }));
        }
    }
    let bytes = json!({
        "type": "ByteLevel",
        "add_prefix_space": false,
        "trim_offsets": false,
        "use_regex": false,
    });
    let cut = json!({
        "type": "Split",
        "pattern": {"Regex": words.expression},
        "behavior": "Isolated",
        "invert": false,
    });
    let normalizer = match words.composes {
        true => json!({"type": "NFC"}),
        false => Value::Null,
    };
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [cut, bytes]},
        "post_processor": around(values, &tokens, words.begins)?,
        "decoder": bytes,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": words.keeps_tokens,
            "vocab": vocabulary,
            "merges": merges,
        },
    }))
}

fn words(values: &Config) -> Result<&'static Words> {
    let field = "tokenizer.ggml.pre";
    let name = values.text(field)?.unwrap_or("default");
    let mut known = WORDS.iter();
    known
        .find(|words| words.names.contains(&name))
        .ok_or_else(|| {
            let names = WORDS.iter().flat_map(|words| words.names);
            let names: Vec<&str> = names.copied().collect();
            Error::Unsupported(format!(
                "{}: {field} is \"{name}\", which is not supported; this build cuts texts as {}",
                values.file(),
                names.join(", ")
            ))
        })
}

/// The tokens that begin and end each text.
fn around(values: &Config, tokens: &[String], begins: bool) -> Result<Value> {
    let added = |role: &str, default: bool| -> Result<Option<(usize, &String)>> {
        if !values.flag(&format!("tokenizer.ggml.add_{role}_token"), default)? {
            return Ok(None);
        }
        let field = format!("tokenizer.ggml.{role}_token_id");
        let id = values.whole(&field, None, 0..=tokens.len().saturating_sub(1))?;
        Ok(tokens.get(id).map(|token| (id, token)))
    };
    let (begin, end) = (added("bos", begins)?, added("eos", false)?);
    if begin.is_none() && end.is_none() {
        return Ok(Value::Null);
    }
    let special = |token: &Option<(usize, &String)>| {
        let token = token.as_ref();
        token.map(|(_, token)| json!({"SpecialToken": {"id": token, "type_id": 0}}))
    };
    let text = |id: &str, number: usize| json!({"Sequence": {"id": id, "type_id": number}});
    let single = special(&begin).into_iter().chain([text("A", 0)]);
    let single: Vec<Value> = single.chain(special(&end)).collect();
    let mut known = Map::new();
    for (id, token) in [begin, end].into_iter().flatten() {
        let described = json!({"id": token, "ids": [id], "tokens": [token]});
        known.insert(token.clone(), described);
    }
    Ok(json!({
        "type": "TemplateProcessing",
        "single": single,
        "pair": [text("A", 0), text("B", 1)],
        "special_tokens": known,
    }))
}

#[cfg(test)]
mod tests {
    use tokenizers::Tokenizer;

    use super::*;

    fn tokens(values: &Value, text: &str) -> Vec<u32> {
        let Value::Object(fields) = values.clone() else {
            panic!("{values}")
        };
        let described = byte_pairs(&Config::of_fields("m.gguf", fields)).unwrap();
        let content = serde_json::to_vec(&described).unwrap();
        let tokenizer = Tokenizer::from_bytes(content).unwrap();
        let encoded = tokenizer.encode_fast(text, true).unwrap();
        let ids = encoded.get_ids().to_vec();
        let decoded = tokenizer.decode(&ids, true).unwrap();
        assert_eq!(decoded, text.replace("<s>", ""));
        ids
    }

    fn values(pre: &str) -> Value {
        json!({
            "tokenizer.ggml.pre": pre,
            "tokenizer.ggml.tokens": ["a", "b", "1", "Ġ", "'", "<s>", "ab", "11", "111", "Ġa", "bab", "1111"],
            "tokenizer.ggml.token_type": [1, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1, 1],
            "tokenizer.ggml.merges": ["a b", "1 1", "11 1", "Ġ a"],
            "tokenizer.ggml.bos_token_id": 5,
        })
    }

    #[test]
    fn words_are_cut_as_the_file_says() {
        assert_eq!(tokens(&values("gpt-2"), "ab a1111"), [6, 9, 7, 7]);
        // Numbers of three digits; the token "bab" although no pair makes it; a token at the beginning.
        assert_eq!(tokens(&values("llama-bpe"), "bab a1111"), [5, 10, 9, 8, 2]);
        assert_eq!(tokens(&values("dbrx"), "bab a"), [1, 6, 9]);
        assert_eq!(tokens(&values("qwen2"), "ab 11<s>ab"), [6, 3, 2, 2, 5, 6]);
        let mut plain = values("llama3");
        plain["tokenizer.ggml.add_bos_token"] = json!(false);
        assert_eq!(tokens(&plain, "ab"), [6]);
    }

    #[test]
    fn unknown_words_are_refused_by_name() {
        let Value::Object(mut fields) = values("tekken") else {
            panic!()
        };
        let error = byte_pairs(&Config::of_fields("m.gguf", fields.clone())).unwrap_err();
        let expected = "m.gguf: tokenizer.ggml.pre is \"tekken\", which is not supported; this build cuts texts as default, gpt-2";
        assert!(error.to_string().starts_with(expected), "{error}");
        fields.insert("tokenizer.ggml.pre".into(), json!("gpt-2"));
        fields.remove("tokenizer.ggml.merges");
        let error = byte_pairs(&Config::of_fields("m.gguf", fields)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "m.gguf: tokenizer.ggml.merges is missing"
        );
    }
}
