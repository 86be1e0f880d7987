//! [`Arguments`]: the text of a layer, `name(argument, key=value, …)`, and its arguments one by one.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::{Error, Result};

/// The most outputs, channels or units of a layer.
pub(super) const WIDTH_MAX: usize = 65_536;
/// The most characters of a user's text in an error.
const SHORT_MAX: usize = 100;

pub(super) fn invalid(problem: impl Into<String>) -> Error {
    Error::Invalid(problem.into())
}

/// The beginning of a text that a user wrote, for an error.
pub(super) fn short(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHORT_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// A number of outputs or channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// The outputs of the model: of all targets one for each class, or one for two classes, and one for each number.
    Classes,
    /// A number.
    Number(usize),
}

impl Width {
    /// The number in a model of so many outputs.
    pub(super) fn number(self, outputs: usize) -> usize {
        match self {
            Self::Classes => outputs,
            Self::Number(number) => number,
        }
    }
}

/// The arguments of a layer that are not read yet.
#[derive(Debug)]
pub(super) struct Arguments<'a> {
    /// The name of the layer, in lower case.
    pub(super) name: String,
    /// How deep the layer is nested: 0 for a layer of the model itself.
    pub(super) depth: usize,
    positional: Vec<&'a str>,
    named: Vec<(String, &'a str)>,
    /// The number of arguments asked for.
    taken: usize,
}

impl<'a> Arguments<'a> {
    /// Takes the text of a layer apart.
    pub(super) fn parse(text: &'a str, depth: usize) -> Result<Self> {
        let text = text.trim();
        let (name, inside) = match text.split_once('(') {
            None => (text, ""),
            Some((name, rest)) => {
                let inside = rest.strip_suffix(')');
                (
                    name,
                    inside.ok_or_else(|| invalid("a \")\" is missing at its end"))?,
                )
            }
        };
        let mut arguments = Self {
            name: name.trim().to_lowercase(),
            depth,
            positional: vec![],
            named: vec![],
            taken: 0,
        };
        for (number, part) in (1..).zip(parts(inside)?) {
            let (key, value) = key_and_value(part)?;
            if value.is_empty() {
                return Err(invalid(format!("argument {number} is empty")));
            }
            let Some(key) = key else {
                if let Some((before, _)) = arguments.named.first() {
                    return Err(invalid(format!(
                        "{} comes after {before}=…; arguments without a name come first",
                        short(value)
                    )));
                }
                arguments.positional.push(value);
                continue;
            };
            if arguments.named.iter().any(|(known, _)| *known == key) {
                return Err(invalid(format!("{} is given twice", short(&key))));
            }
            arguments.named.push((key, value));
        }
        Ok(arguments)
    }

    /// The next argument, given in its place or by its name.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<&'a str>> {
        let in_place = self.positional.get(self.taken).copied();
        self.taken += 1;
        let named = self.named.iter().position(|(key, _)| key == name);
        let named = named.map(|at| self.named.remove(at).1);
        match (in_place, named) {
            (Some(_), Some(_)) => Err(invalid(format!("{name} is given twice"))),
            (in_place, named) => Ok(in_place.or(named)),
        }
    }

    /// All arguments that are left.
    pub(super) fn rest(&mut self) -> Vec<&'a str> {
        let rest = self.positional.get(self.taken..).unwrap_or_default();
        self.taken = self.positional.len();
        rest.to_vec()
    }

    /// A whole number; an error without a default if it is missing.
    pub(super) fn whole(
        &mut self,
        name: &str,
        default: Option<usize>,
        range: RangeInclusive<usize>,
    ) -> Result<usize> {
        match (self.text(name)?, default) {
            (Some(text), _) => whole(name, text, range),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(invalid(format!("{name} is missing"))),
        }
    }

    /// A number of outputs or channels, or `classes`.
    pub(super) fn width(&mut self, name: &str) -> Result<Width> {
        match self.text(name)? {
            None => Err(invalid(format!("{name} is missing"))),
            Some(text) if text.eq_ignore_ascii_case("classes") => Ok(Width::Classes),
            Some(text) => Ok(Width::Number(whole(name, text, 1..=WIDTH_MAX)?)),
        }
    }

    /// A number from 0 to below 1.
    pub(super) fn share(&mut self, name: &str) -> Result<f64> {
        let text = self
            .text(name)?
            .ok_or_else(|| invalid(format!("{name} is missing")))?;
        let number = text.parse::<f64>().ok();
        let in_range = number.filter(|number| (0.0..1.0).contains(number));
        in_range.ok_or_else(|| {
            invalid(format!(
                "{name} is {}; expected a number from 0 to below 1",
                short(text)
            ))
        })
    }

    /// `true` or `false`; `false` if it is missing.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool> {
        match self.text(name)? {
            None => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(invalid(format!(
                "{name} is {}; expected true or false",
                short(text)
            ))),
        }
    }

    /// Refuses arguments that nobody asked for.
    pub(super) fn finish(&self) -> Result<()> {
        if let Some((key, _)) = self.named.first() {
            return Err(invalid(format!("it has no argument {}", short(key))));
        }
        match self.positional.get(self.taken) {
            Some(extra) => Err(invalid(format!(
                "{} is one argument too many",
                short(extra)
            ))),
            None => Ok(()),
        }
    }
}

pub(super) fn whole(name: &str, text: &str, range: RangeInclusive<usize>) -> Result<usize> {
    let number = text.parse::<usize>().ok();
    let in_range = number.filter(|number| range.contains(number));
    in_range.ok_or_else(|| {
        let (min, max) = (range.start(), range.end());
        invalid(format!(
            "{name} is {}; expected a whole number from {min} to {max}",
            short(text)
        ))
    })
}

/// The parts between the commas that are in no brackets.
fn parts(text: &str) -> Result<Vec<&str>> {
    let (mut depth, mut start) = (0usize, 0);
    let mut parts = vec![];
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => {
                let outer = depth.checked_sub(1);
                depth = outer.ok_or_else(|| invalid("a \"(\" is missing"))?;
            }
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err(invalid("a \")\" is missing"));
    }
    if !text.trim().is_empty() {
        parts.push(&text[start..]);
    }
    Ok(parts)
}

/// The parts of `key=value`, or a value without a key; both may be quoted.
fn key_and_value(part: &str) -> Result<(Option<String>, &str)> {
    let part = part.trim();
    let part = match part.starts_with(['\'', '"']) {
        true => unquoted(part)?,
        false => part,
    };
    match part.split_once('=') {
        // An equals sign after a bracket belongs to a layer within this one.
        Some((key, value)) if !key.contains('(') => {
            Ok((Some(key.trim().to_lowercase()), unquoted(value)?))
        }
        _ => Ok((None, unquoted(part)?)),
    }
}

/// The text without quotes around it.
fn unquoted(text: &str) -> Result<&str> {
    let text = text.trim();
    let quote = |character: Option<char>| character.filter(|found| matches!(found, '\'' | '"'));
    let mut characters = text.chars();
    match (quote(characters.next()), quote(characters.next_back())) {
        (None, None) => Ok(text),
        (Some(first), Some(last)) if first == last => Ok(text[1..text.len() - 1].trim()),
        _ => Err(invalid(format!("a quote is missing in {}", short(text)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_stand_in_their_place_or_have_a_name() {
        let mut read = Arguments::parse(" Conv2D(32, 3, padding = 1) ", 0).unwrap();
        assert_eq!(read.name, "conv2d");
        assert_eq!(read.width("channels").unwrap(), Width::Number(32));
        assert_eq!(read.whole("kernel", None, 1..=9).unwrap(), 3);
        assert_eq!(read.whole("stride", Some(1), 1..=9).unwrap(), 1);
        assert_eq!(read.whole("padding", Some(0), 0..=9).unwrap(), 1);
        read.finish().unwrap();
    }

    #[test]
    fn a_flag_is_true_false_or_missing() {
        let mut read = Arguments::parse("lstm(sequences=True, reverse=false)", 0).unwrap();
        let mut flag = |name: &str| read.flag(name).unwrap();
        assert!(flag("sequences") && !flag("reverse") && !flag("bidirectional"));
        let mut read = Arguments::parse("lstm(sequences=1)", 0).unwrap();
        let error = read.flag("sequences").unwrap_err().to_string();
        assert_eq!(error, "sequences is 1; expected true or false");
    }

    #[test]
    fn layers_within_a_layer_keep_their_commas() {
        let text = "residual('conv2d(8, 3, padding=same)', relu, conv2d(8, 3, padding=same))";
        let mut read = Arguments::parse(text, 0).unwrap();
        let inner = "conv2d(8, 3, padding=same)";
        assert_eq!(read.rest(), [inner, "relu", inner]);
        read.finish().unwrap();
    }

    #[test]
    fn quotes_around_an_argument_are_no_part_of_it() {
        let rest = |text: &'static str| Arguments::parse(text, 0).unwrap().rest();
        assert_eq!(rest("residual('relu', 'tanh')"), ["relu", "tanh"]);
        assert_eq!(rest("residual(\"relu\", tanh)"), ["relu", "tanh"]);
        let inner = "residual('relu', 'tanh')";
        assert_eq!(rest("residual('residual('relu', 'tanh')')"), [inner]);
        for text in [
            "x(padding='same')",
            "x('padding=same')",
            "x( padding = \"same\" )",
        ] {
            let mut read = Arguments::parse(text, 0).unwrap();
            assert_eq!(read.text("padding").unwrap(), Some("same"), "{text}");
        }
    }

    #[test]
    fn an_error_shows_the_beginning_of_a_long_text() {
        assert_eq!(short("relu"), "relu");
        let text = "ä".repeat(101);
        assert_eq!(short(&text), format!("{}…", "ä".repeat(100)));
        assert_eq!(short(&text[..200]), text[..200]);
    }

    #[test]
    fn mistakes_are_named() {
        let problem = |text: &str| {
            let mut read = Arguments::parse(text, 0)?;
            read.width("channels")?;
            read.whole("kernel", None, 1..=9)?;
            read.finish()
        };
        for (text, expected) in [
            ("conv2d(32", "a \")\" is missing"),
            ("conv2d((32)", "a \")\" is missing"),
            ("conv2d(32), 3)", "a \"(\" is missing"),
            ("conv2d", "channels is missing"),
            ("conv2d(32)", "kernel is missing"),
            (
                "conv2d(32, x)",
                "kernel is x; expected a whole number from 1 to 9",
            ),
            (
                "conv2d(32, 10)",
                "kernel is 10; expected a whole number from 1 to 9",
            ),
            ("conv2d(32, )", "argument 2 is empty"),
            ("conv2d(, 3)", "argument 1 is empty"),
            ("conv2d('', 3)", "argument 1 is empty"),
            ("conv2d(32, kernel=)", "argument 2 is empty"),
            (
                "conv2d(kernel=3, 32)",
                "32 comes after kernel=…; arguments without a name come first",
            ),
            ("conv2d('32, 3)", "a quote is missing in '32"),
            ("conv2d(32', 3)", "a quote is missing in 32'"),
            ("conv2d(32, kernel='3)", "a quote is missing in '3"),
            ("conv2d(32, 3, kernel=3)", "kernel is given twice"),
            ("conv2d(32, kernel=3, kernel=5)", "kernel is given twice"),
            ("conv2d(32, 3, 4)", "4 is one argument too many"),
            ("conv2d(32, 3, size=4)", "it has no argument size"),
            (
                "conv2d(0, 3)",
                "channels is 0; expected a whole number from 1 to 65536",
            ),
        ] {
            let error = problem(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
