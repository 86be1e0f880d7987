//! [`Chat`]: a prompt as the message of a user, in the template that a model has for chats.
//!
//! A template is a program in Jinja. It sees the message and the model's special tokens, as in transformers; it has no clock, so
//! that the same prompt gives the same text on every day. [`Template`] counts its steps and what they make; a template that takes too
//! much is an error.

use std::fmt;
use std::io::{self, Write};

use minijinja::value::{Kwargs, Value, from_args};
use minijinja::{Environment, Error, ErrorKind, State};
use serde::Serialize;
use serde_json::json;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::library::replaced;
use super::made::{Counted, check_levels, count};
use super::template::Template;
use crate::Result;
use crate::artifact::corrupt;

/// The most spaces before a line of JSON.
const INDENT_MAX: usize = 64;

/// The template of a model.
pub(super) struct Chat {
    template: Template,
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
        environment.set_unknown_method_callback(method);
        environment.add_function("raise_exception", raise);
        environment.add_filter("tojson", to_json);
        let template = Template::new(with_plain_blocks(&template), environment);
        let template =
            template.map_err(|error| corrupt(file, format!("the template of a chat: {error}")))?;
        Ok(Self { template, tokens })
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
        let refused = |error: Error| format!("the template of the chat refuses it: {error}");
        self.template.text(&seen).map_err(refused)
    }
}

/// The template with a block that always counts for each block `generation`. Such blocks mark what a model has written, for trainings,
/// and show what is in them.
fn with_plain_blocks(template: &str) -> String {
    const START: &str = "{%";
    const END: &str = "%}";
    let mut plain = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once(START) {
        let Some((tag, behind)) = behind.split_once(END) else {
            break;
        };
        plain.push_str(before);
        plain.push_str(START);
        match tag.trim_matches(['-', '+']).trim() {
            "generation" => plain.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => plain.push_str(&tag.replace("endgeneration", "endif")),
            _ => plain.push_str(tag),
        }
        plain.push_str(END);
        rest = behind;
    }
    plain.push_str(rest);
    plain
}

/// JSON as transformers gives it to templates: in one line as Python writes it, or with so many spaces before each line. No character
/// is written as in HTML.
fn to_json(state: &State, value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let is_ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let invalid = |problem: String| Error::new(ErrorKind::InvalidOperation, problem);
    check_levels(state, &value)?;
    let mut text = Counted::new(state);
    let written = match indent {
        None => value.serialize(&mut Serializer::with_formatter(&mut text, Spaced)),
        Some(indent) if indent <= INDENT_MAX => {
            let spaces = vec![b' '; indent];
            let formatter = PrettyFormatter::with_indent(&spaces);
            value.serialize(&mut Serializer::with_formatter(&mut text, formatter))
        }
        Some(indent) => {
            let problem = format!("tojson with an indent of {indent}, more than {INDENT_MAX}");
            return Err(invalid(problem));
        }
    };
    written.map_err(|error| invalid(error.to_string()))?;
    let json = text.into_text()?;
    Ok(match is_ascii {
        Some(true) => ascii(&json),
        Some(false) | None => json,
    })
}

/// JSON in one line with a space behind each comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }
}

/// JSON whose characters beyond ASCII, which are in texts only, are numbers.
fn ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            ascii.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            ascii.push_str(&format!("\\u{unit:04x}"));
        }
    }
    ascii
}

/// What a template calls for a chat that it does not take.
fn raise(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The methods of Python's texts and mappings that templates use.
fn method(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return of_text(state, text, name, args);
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

fn of_text(state: &State, text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    count(state, text.len())?;
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
            let most = most.unwrap_or(usize::MAX);
            match between {
                Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
                Some(between) => {
                    let parts = text.splitn(most.saturating_add(1), between);
                    parts.map(Value::from).collect()
                }
                None => words(text, most).into_iter().map(Value::from).collect(),
            }
        }
        "replace" => {
            let (from, to): (&str, &str) = from_args(args)?;
            replaced(state, text, from, to)?
        }
        "title" => Value::from(titled(text, |before| !before.is_alphabetic())),
        "capitalize" => Value::from(titled(text, |_| false)),
        "upper" => Value::from(text.to_uppercase()),
        "lower" => Value::from(text.to_lowercase()),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// The words of a text; behind so many of them the rest of it.
fn words(text: &str, most: usize) -> Vec<&str> {
    let (mut words, mut rest) = (vec![], text.trim_start());
    while !rest.is_empty() {
        if words.len() == most {
            words.push(rest);
            break;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        words.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    words
}

/// The text in small letters, but for the first character and those behind characters where a word `begins`.
fn titled(text: &str, begins: impl Fn(char) -> bool) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut is_first = true;
    for character in text.chars() {
        match is_first {
            true => titled.extend(character.to_uppercase()),
            false => titled.extend(character.to_lowercase()),
        }
        is_first = begins(character);
    }
    titled
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

    /// Each of these would take the memory, the time or the stack of the process.
    #[test]
    fn templates_of_others_take_no_more_than_their_share() {
        let chat = |template: &str| Chat::new("t.json", template.into(), tokens());
        let of_itself = |step: &str| {
            format!(
                "{{% set ns = namespace(x='xx', l=[1]) %}}{{% for a in range(60) %}}{{% set {step} %}}{{% endfor %}}{{{{ ns.x | length }}}}"
            )
        };
        let many = "it makes more than 64 MiB of texts";
        for (template, expected) in [
            (
                "{% for a in range(1000) %}{{ messages[0].content }}{% endfor %}".to_owned(),
                many,
            ),
            (of_itself("ns.x = ns.x ~ ns.x"), many),
            (of_itself("ns.x = ns.x + ns.x"), many),
            (of_itself("ns.x = ns.x.replace('x', 'xx')"), many),
            (of_itself("ns.x = ns.x | replace('x', 'xx')"), many),
            (of_itself("ns.l = ns.l + ns.l"), many),
            (of_itself("ns.x = [ns.x, ns.x] | join"), many),
            (of_itself("ns.x = [ns.x, ns.x] | tojson"), many),
            ("{% set n = 99999999 %}{{ 'x' ~ n * bos_token }}".into(), many),
            (
                "{% set x %}{% for a in range(1000) %}{{ messages[0].content }}{% endfor %}{% endset %}".into(),
                many,
            ),
            (
                "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".into(),
                "recursion limit",
            ),
            (
                "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}".into(),
                "nested in more than 1000 levels",
            ),
            (
                "{% set ns = namespace(x=[]) %}{% for a in range(1500) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}".into(),
                "nested in more than 1000 levels",
            ),
            ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}".into(), "fuel"),
        ] {
            let error = chat(&template).unwrap().text(&"x".repeat(70_000));
            let error = error.unwrap_err();
            assert!(error.contains(expected), "{template}: {error}");
        }
        // These would be computed when the template is read.
        for template in [
            "{{ 'x' * 99999999 }}",
            "{{ 99999999 * ('x') }}",
            "{{ [1] * 9 }}",
        ] {
            let error = chat(template).unwrap_err().to_string();
            assert!(error.contains("* takes names and numbers"), "{error}");
        }
    }

    #[test]
    fn sums_products_and_filters_are_those_of_the_library() {
        for (template, expected) in [
            ("{{ 1 + 2 }}{{ messages | length + 1 }}", "32"),
            (
                "{% set n = 3 %}{{ n * 2 }} {{ n + 0.5 }} {{ n * bos_token }}",
                "6 3.5 <s><s><s>",
            ),
            ("{{ messages[0].role + ':' ~ 1 }}", "user:1"),
            ("{% for x in [1] + [2, 3] %}{{ x }}{% endfor %}", "123"),
            (
                "{{ ['a', 1] | join('-') }}{{ 1 | string ~ 'b' | upper }}",
                "a-11B",
            ),
            (
                "{{ messages[0].content | trim | replace('x', 'yy') }}",
                "yy",
            ),
        ] {
            let chat = Chat::new("t.json", template.into(), tokens()).unwrap();
            assert_eq!(chat.text(" x ").as_deref(), Ok(expected), "{template}");
        }
    }
}
