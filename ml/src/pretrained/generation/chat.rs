//! [`Chat`]: a prompt as the message of a user, in the template that a model has for chats.
//!
//! A template is a program in Jinja. It sees the message and the model's special tokens, as in transformers; it has no clock, so
//! that the same prompt gives the same text on every day. Its steps are counted, and a template that takes too many is an error.

use std::fmt;

use minijinja::value::{Value, from_args};
use minijinja::{Environment, Error, ErrorKind, State};
use serde_json::json;

use crate::Result;
use crate::artifact::corrupt;

/// The name of the template among those of the environment.
const NAME: &str = "chat";
/// The most steps of a template for a prompt; real ones take some hundred.
const STEPS_MAX: u64 = 100_000;

/// The template of a model.
pub(super) struct Chat {
    environment: Environment<'static>,
    tokens: SpecialTokens,
}

/// The texts of special tokens.
#[derive(Debug, Default, Clone)]
pub(super) struct SpecialTokens {
    pub(super) begin: String,
    pub(super) end: String,
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chat").field(&self.tokens).finish()
    }
}

impl Chat {
    /// The template of this text, which is in `file`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if it is no template.
    pub(super) fn new(file: &str, template: String, tokens: SpecialTokens) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(STEPS_MAX));
        environment.set_unknown_method_callback(method);
        environment.add_function("raise_exception", raise);
        let added = environment.add_template_owned(NAME, template);
        added.map_err(|error| corrupt(file, format!("the template of a chat: {error}")))?;
        Ok(Self {
            environment,
            tokens,
        })
    }

    /// The text of a chat in which a user has written the prompt, up to where the model answers.
    ///
    /// # Errors
    /// What the template says against it.
    pub(super) fn text(&self, prompt: &str) -> Result<String, String> {
        let seen = json!({
            "messages": [{"role": "user", "content": prompt}],
            "add_generation_prompt": true,
            "bos_token": self.tokens.begin,
            "eos_token": self.tokens.end,
            "tools": null,
            "documents": null,
        });
        let template = self.environment.get_template(NAME);
        let rendered = template.and_then(|template| template.render(seen));
        rendered.map_err(|error| format!("the template of the chat refuses it: {error}"))
    }
}

/// What a template calls for a chat that it does not take.
fn raise(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The methods of Python's texts and mappings that templates use.
fn method(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return of_text(text, name, args);
    }
    match name {
        "items" => state.apply_filter("items", std::slice::from_ref(value)),
        "get" => {
            let (key, default): (Value, Option<Value>) = from_args(args)?;
            let found = value.get_item(&key)?;
            Ok(match found.is_undefined() {
                true => default.unwrap_or(Value::from(())),
                false => found,
            })
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn of_text(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let stripped = |of: fn(&str, &dyn Fn(char) -> bool) -> String| -> Result<Value, Error> {
        let (characters,): (Option<&str>,) = from_args(args)?;
        Ok(Value::from(match characters {
            None => of(text, &char::is_whitespace),
            Some(characters) => of(text, &|character| characters.contains(character)),
        }))
    };
    Ok(match name {
        "strip" => stripped(|text, is| text.trim_matches(is).to_owned())?,
        "lstrip" => stripped(|text, is| text.trim_start_matches(is).to_owned())?,
        "rstrip" => stripped(|text, is| text.trim_end_matches(is).to_owned())?,
        "startswith" => {
            let (start,): (&str,) = from_args(args)?;
            Value::from(text.starts_with(start))
        }
        "endswith" => {
            let (end,): (&str,) = from_args(args)?;
            Value::from(text.ends_with(end))
        }
        "split" => {
            let (between, most): (Option<&str>, Option<usize>) = from_args(args)?;
            let most = most.map_or(usize::MAX, |most| most.saturating_add(1));
            match between {
                Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
                Some(between) => text.splitn(most, between).map(Value::from).collect(),
                None => text.split_whitespace().map(Value::from).collect(),
            }
        }
        "replace" => {
            let (from, to): (&str, &str) = from_args(args)?;
            Value::from(text.replace(from, to))
        }
        "upper" => Value::from(text.to_uppercase()),
        "lower" => Value::from(text.to_lowercase()),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Rendered {
        template: String,
        prompt: String,
        text: String,
    }

    fn tokens() -> SpecialTokens {
        SpecialTokens {
            begin: "<s>".into(),
            end: "</s>".into(),
        }
    }

    /// What transformers makes of the same templates (`tests/it/fixtures/generation.py`).
    #[test]
    fn chats_are_those_of_transformers() {
        let fixture = include_str!("../../../tests/it/fixtures/chats.json");
        let chats: Vec<Rendered> = serde_json::from_str(fixture).unwrap();
        assert!(chats.len() >= 5);
        for chat in chats {
            let template = Chat::new("tokenizer_config.json", chat.template.clone(), tokens());
            let text = template.unwrap().text(&chat.prompt);
            assert_eq!(text, Ok(chat.text), "{}", chat.template);
        }
    }

    #[test]
    fn templates_that_fail_say_why() {
        let chat = |template: &str| Chat::new("t.json", template.into(), tokens());
        let error = chat("{% if %}").unwrap_err().to_string();
        assert!(
            error.starts_with("t.json: the template of a chat: syntax error"),
            "{error}"
        );
        let refused = chat("{{ raise_exception('no users') }}")
            .unwrap()
            .text("x")
            .unwrap_err();
        assert!(
            refused.starts_with("the template of the chat refuses it: "),
            "{refused}"
        );
        assert!(refused.contains("no users"), "{refused}");
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        let error = chat(endless).unwrap().text("x").unwrap_err();
        assert!(error.contains("fuel"), "{error}");
        let error = chat("{{ 'x'.nothing() }}").unwrap().text("x").unwrap_err();
        assert!(error.contains("unknown method"), "{error}");
    }
}
