//! [`Config`]: the JSON that describes a model. Each value is checked against limits before anything is made of it.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::Result;
use crate::artifact::corrupt;

/// The most bytes of a JSON file.
pub(crate) const JSON_BYTES_MAX: u64 = 64 << 20;
/// The most units of a layer.
pub(super) const WIDTH_MAX: usize = 1 << 16;
/// The most layers of one kind.
pub(super) const LAYERS_MAX: usize = 1_000;
/// The longest edge of an image, in pixels.
pub(super) const EDGE_MAX: usize = 1 << 13;

/// An object in a JSON file. A value that is null counts as missing.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    file: String,
    /// The names of the sections around the fields, each with a point after it.
    path: String,
    fields: Map<String, Value>,
}

impl Config {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if it is no JSON object.
    pub(crate) fn parse(file: &str, content: &[u8]) -> Result<Self> {
        match serde_json::from_slice(content) {
            Ok(Value::Object(fields)) => Ok(Self::of_fields(file, fields)),
            Ok(_) => Err(corrupt(file, "not a JSON object")),
            Err(error) => Err(corrupt(file, error)),
        }
    }

    /// Values that a file of another kind describes.
    pub(crate) fn of_fields(file: &str, fields: Map<String, Value>) -> Self {
        Self {
            file: file.into(),
            path: String::new(),
            fields,
        }
    }

    /// The name of the file.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The value of this name, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Whether a description says of this name that there is none.
    pub(crate) fn is_null(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(Value::is_null)
    }

    /// The names of the values.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let given = self.fields.iter().filter(|(_, value)| !value.is_null());
        given.map(|(name, _)| name.as_str())
    }

    /// The error for a value of this name.
    pub(crate) fn error(&self, name: &str, problem: impl std::fmt::Display) -> crate::Error {
        corrupt(&self.file, format!("{}{name} {problem}", self.path))
    }

    /// The error for a value of this name that this build does not know.
    pub(crate) fn unsupported(&self, name: &str, problem: impl std::fmt::Display) -> crate::Error {
        let (file, path) = (&self.file, &self.path);
        crate::Error::Unsupported(format!("{file}: {path}{name} {problem}"))
    }

    fn unexpected(&self, name: &str, value: &Value, expected: &str) -> crate::Error {
        let mut found = value.to_string();
        if let Some((end, _)) = found.char_indices().nth(80) {
            found.truncate(end);
            found.push('…');
        }
        self.error(name, format!("is {found}; expected {expected}"))
    }

    fn missing(&self, name: &str, expected: &str) -> crate::Error {
        self.error(name, format!("is missing; expected {expected}"))
    }

    /// The object of this name, if there is one.
    pub(crate) fn section(&self, name: &str) -> Result<Option<Self>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self {
                file: self.file.clone(),
                path: format!("{}{name}.", self.path),
                fields: fields.clone(),
            })),
            Some(other) => Err(self.unexpected(name, other, "an object")),
        }
    }

    /// The object of this name, or one without values.
    pub(crate) fn section_or_empty(&self, name: &str) -> Result<Self> {
        let section = self.section(name)?;
        Ok(section.unwrap_or_else(|| Self {
            file: self.file.clone(),
            path: format!("{}{name}.", self.path),
            fields: Map::new(),
        }))
    }

    /// The whole number of this name.
    pub(crate) fn whole(
        &self,
        name: &str,
        default: Option<usize>,
        range: RangeInclusive<usize>,
    ) -> Result<usize> {
        let expected = whole_in(&range);
        match (self.get(name), default) {
            (Some(value), _) => {
                let found = whole(value).filter(|number| range.contains(number));
                found.ok_or_else(|| self.unexpected(name, value, &expected))
            }
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.missing(name, &expected)),
        }
    }

    /// The list of whole numbers of this name.
    pub(crate) fn wholes(
        &self,
        name: &str,
        default: &[usize],
        range: RangeInclusive<usize>,
    ) -> Result<Vec<usize>> {
        let Some(value) = self.get(name) else {
            return Ok(default.to_vec());
        };
        let items = value.as_array().filter(|items| items.len() <= LAYERS_MAX);
        let read = |item: &Value| whole(item).filter(|number| range.contains(number));
        let numbers: Option<Vec<usize>> = items.and_then(|items| items.iter().map(read).collect());
        numbers.ok_or_else(|| {
            let (from, to) = (range.start(), range.end());
            let expected =
                format!("a list of at most {LAYERS_MAX} whole numbers from {from} to {to}");
            self.unexpected(name, value, &expected)
        })
    }

    /// The height and the width of this name: a list of both, or one number for both.
    pub(crate) fn pair(
        &self,
        name: &str,
        default: Option<usize>,
        range: RangeInclusive<usize>,
    ) -> Result<[usize; 2]> {
        match self.get(name).map(Value::is_array) {
            Some(true) => match self.wholes(name, &[], range)?.as_slice() {
                [height, width] => Ok([*height, *width]),
                other => Err(self.error(
                    name,
                    format!(
                        "has {} numbers; expected the height and the width",
                        other.len()
                    ),
                )),
            },
            Some(false) | None => Ok([self.whole(name, default, range)?; 2]),
        }
    }

    /// The finite number of this name.
    pub(crate) fn number(&self, name: &str, default: f64) -> Result<f64> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => {
                let number = value.as_f64().filter(|number| number.is_finite());
                number.ok_or_else(|| self.unexpected(name, value, "a number"))
            }
        }
    }

    /// The number of this name, which is not negative: what is added to a variance before its root.
    pub(crate) fn epsilon(&self, name: &str, default: f64) -> Result<f64> {
        let number = self.number(name, default)?;
        match (0.0..=1.0).contains(&number) {
            true => Ok(number),
            false => Err(self.error(name, format!("is {number}; expected a number from 0 to 1"))),
        }
    }

    /// The numbers of this name: a list of `count` of them, or one number for all; `None` if there are none.
    pub(crate) fn numbers(&self, name: &str, count: usize) -> Result<Option<Vec<f64>>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let finite = |value: &Value| value.as_f64().filter(|number| number.is_finite());
        let numbers: Option<Vec<f64>> = match value {
            Value::Array(items) if items.len() == count => items.iter().map(finite).collect(),
            Value::Array(_) => None,
            one => finite(one).map(|number| vec![number; count]),
        };
        let expected = || self.unexpected(name, value, &format!("a list of {count} numbers"));
        numbers.map(Some).ok_or_else(expected)
    }

    /// The flag of this name.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.unexpected(name, other, "true or false")),
        }
    }

    /// The text of this name, if there is one.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.unexpected(name, other, "a text")),
        }
    }

    /// The texts of this name, if there are any: a list, or one text.
    pub(crate) fn texts(&self, name: &str) -> Result<Option<Vec<String>>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let texts: Option<Vec<String>> = match value {
            Value::Array(items) => items.iter().map(text).collect(),
            one => text(one).map(|one| vec![one]),
        };
        let expected = || self.unexpected(name, value, "a list of texts");
        texts.map(Some).ok_or_else(expected)
    }

    /// Refuses a text other than `wanted`, if there is one, for what this build computes in one way only.
    pub(crate) fn require_text(&self, name: &str, wanted: &str) -> Result<()> {
        match self.text(name)? {
            Some(other) if other != wanted => Err(crate::Error::Unsupported(format!(
                "{}: {}{name} is \"{other}\", and this build opens only models in which it is \"{wanted}\"",
                self.file, self.path
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses a value other than `wanted` of what this build computes in one way only.
    pub(crate) fn require_flag(&self, name: &str, wanted: bool) -> Result<()> {
        match self.flag(name, wanted)? == wanted {
            true => Ok(()),
            false => Err(crate::Error::Unsupported(format!(
                "{}: {}{name} is {}, and this build opens only models in which it is {wanted}",
                self.file, self.path, !wanted
            ))),
        }
    }
}

fn whole_in(range: &RangeInclusive<usize>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}

/// A number without a part behind its point, also if it is written with one.
fn whole(value: &Value) -> Option<usize> {
    let written = value.as_u64().map(|number| number as usize);
    written.or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("config.json", text.as_bytes()).unwrap()
    }

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn values_are_read_by_kind() {
        let config = config(
            r#"{"a": 3, "b": [4, 5.0], "c": null, "d": "x", "e": true, "f": {"g": 0.5}, "h": 7.0}"#,
        );
        assert_eq!(config.whole("a", None, 1..=9).unwrap(), 3);
        assert_eq!(config.whole("h", None, 1..=9).unwrap(), 7);
        assert_eq!(config.whole("c", Some(2), 1..=9).unwrap(), 2);
        assert!(config.is_null("c") && !config.is_null("a") && !config.is_null("nothing"));
        assert_eq!(config.wholes("b", &[], 1..=9).unwrap(), [4, 5]);
        assert_eq!(config.pair("b", None, 1..=9).unwrap(), [4, 5]);
        assert_eq!(config.pair("a", None, 1..=9).unwrap(), [3, 3]);
        assert_eq!(config.text("d").unwrap(), Some("x"));
        assert_eq!(config.texts("d").unwrap(), Some(vec!["x".into()]));
        assert!(config.flag("e", false).unwrap());
        assert_eq!(config.numbers("a", 2).unwrap(), Some(vec![3.0; 2]));
        assert_eq!(config.numbers("b", 2).unwrap(), Some(vec![4.0, 5.0]));
        let section = config.section("f").unwrap().unwrap();
        assert_eq!(section.number("g", 0.0).unwrap(), 0.5);
        assert_eq!(config.names().count(), 6);
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_expected() {
        let config = config(
            r#"{"layers": 1000000000, "sizes": [1, -2], "text": 1, "eps": -1, "f": {"g": "x"}}"#,
        );
        assert_eq!(
            message(config.whole("layers", None, 1..=LAYERS_MAX)),
            "config.json: layers is 1000000000; expected a whole number from 1 to 1000"
        );
        assert_eq!(
            message(config.whole("width", None, 1..=2)),
            "config.json: width is missing; expected a whole number from 1 to 2"
        );
        assert!(message(config.wholes("sizes", &[], 1..=9)).contains("sizes is [1,-2]; expected"));
        assert!(message(config.text("text")).ends_with("expected a text"));
        assert!(message(config.epsilon("eps", 0.0)).contains("from 0 to 1"));
        let section = config.section("f").unwrap().unwrap();
        assert_eq!(
            message(section.number("g", 0.0)),
            "config.json: f.g is \"x\"; expected a number"
        );
        let long = Config::parse(
            "a.json",
            format!("{{\"a\": \"{}\"}}", "é".repeat(500)).as_bytes(),
        );
        assert!(message(long.unwrap().flag("a", true)).len() < 300);
        assert!(message(Config::parse("a.json", b"[]")).contains("not a JSON object"));
        assert!(message(Config::parse("a.json", b"{")).starts_with("a.json: "));
    }
}
