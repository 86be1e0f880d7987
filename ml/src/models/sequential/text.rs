//! [`Arguments`]: the text of a layer, `name(argument, key=value, …)`, and its arguments one by one.

use std::ops::RangeInclusive;

use crate::{Error, Result};

/// The most outputs or channels of a layer.
const WIDTH_MAX: usize = 65_536;

pub(super) fn invalid(problem: impl Into<String>) -> Error {
    Error::Invalid(problem.into())
}

/// A number of outputs or channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// The outputs of the model: one for each class, or one for two classes.
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
    /// How many layers this layer is in.
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
        for part in parts(inside)? {
            match part.split_once('=') {
                // An equals sign behind a bracket belongs to a layer within this one.
                Some((key, value)) if !key.contains('(') => {
                    let key = key.trim().to_lowercase();
                    arguments.named.push((key, value.trim()));
                }
                _ => arguments.positional.push(part),
            }
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
                "{name} is {text}; expected a number from 0 to below 1"
            ))
        })
    }

    /// `true` or `false`; `false` if it is missing.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool> {
        match self.text(name)? {
            None => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(invalid(format!("{name} is {text}; expected true or false"))),
        }
    }

    /// Refuses arguments that nobody asked for.
    pub(super) fn finish(&self) -> Result<()> {
        if let Some((key, _)) = self.named.first() {
            return Err(invalid(format!("it has no argument {key}")));
        }
        match self.positional.get(self.taken) {
            Some(extra) => Err(invalid(format!("{extra} is one argument too many"))),
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
            "{name} is {text}; expected a whole number from {min} to {max}"
        ))
    })
}

/// The parts between the commas that are in no brackets, without quotes around them.
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
    Ok(parts.into_iter().map(unquoted).collect())
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inside = text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''));
    inside.unwrap_or(text).trim()
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
            ("conv2d(32, 3, kernel=3)", "kernel is given twice"),
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
