//! The prompts of a model of sentence-transformers, in `config_sentence_transformers.json`.

use serde_json::Value;

use crate::Result;
use crate::artifact::Files;
use crate::model::Prompt;
use crate::pretrained::config::{Config, JSON_BYTES_MAX};

const PROMPTS_FILE: &str = "config_sentence_transformers.json";
const PROMPTS_MAX: usize = 1_000;
/// The most bytes of a prompt.
const PROMPT_BYTES_MAX: usize = 1 << 16;

/// The prompts, in the order of the file.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) for prompts that are no texts, and for a default one that is none of them.
pub(crate) fn read(files: &Files) -> Result<Vec<Prompt>> {
    if !files.has(PROMPTS_FILE) {
        return Ok(vec![]);
    }
    let config = Config::parse(PROMPTS_FILE, &files.read(PROMPTS_FILE, JSON_BYTES_MAX)?)?;
    let field = "default_prompt_name";
    let default = config.text(field)?;
    let section = config.section_or_empty("prompts")?;
    let mut prompts = vec![];
    for name in section.names() {
        let text = match section.get(name) {
            Some(Value::String(text)) if text.len() <= PROMPT_BYTES_MAX => text,
            _ => {
                let what = format!("is no text of at most {PROMPT_BYTES_MAX} bytes");
                return Err(section.error(name, what));
            }
        };
        prompts.push(Prompt {
            name: name.to_owned(),
            text: text.clone(),
            is_default: default == Some(name),
        });
    }
    if prompts.len() > PROMPTS_MAX {
        return Err(config.error("prompts", format!("has more than {PROMPTS_MAX} entries")));
    }
    match default {
        Some(name) if !prompts.iter().any(|prompt| prompt.is_default) => {
            let what = format!("is \"{name}\", which is none of the prompts");
            Err(config.error(field, what))
        }
        _ => Ok(prompts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::write_file;

    fn prompts(content: &str) -> Result<Vec<Prompt>> {
        let directory = tempfile::tempdir().unwrap();
        let file = write_file(directory.path(), PROMPTS_FILE, content.as_bytes()).unwrap();
        read(&Files::new(directory.path(), vec![file]))
    }

    #[test]
    fn a_default_prompt_is_one_of_them() {
        let prompts_of = r#""prompts": {"query": "query: ", "passage": "passage: ", "none": null}"#;
        let found = prompts(&format!(
            "{{{prompts_of}, \"default_prompt_name\": \"passage\"}}"
        ));
        let found = found.unwrap();
        let names: Vec<(&str, bool)> = found
            .iter()
            .map(|prompt| (prompt.name.as_str(), prompt.is_default))
            .collect();
        assert_eq!(names, [("query", false), ("passage", true)]);
        assert_eq!(found[0].text, "query: ");
        assert!(prompts("{}").unwrap().is_empty());
        for (content, expected) in [
            (
                format!("{{{prompts_of}, \"default_prompt_name\": \"document\"}}"),
                "default_prompt_name is \"document\", which is none of the prompts",
            ),
            (
                r#"{"prompts": {"query": 1}}"#.to_owned(),
                "prompts.query is no text",
            ),
        ] {
            let error = prompts(&content).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
