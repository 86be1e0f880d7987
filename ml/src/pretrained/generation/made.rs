//! What a template makes for a prompt, counted before it is made.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Object, Value, ValueKind};
use minijinja::{Error, ErrorKind, Output, State};

/// The most bytes of the texts that a template makes for a prompt: more than any model takes.
pub(super) const BYTES_MAX: usize = 64 << 20;
/// What an item of a list counts beside its own bytes.
pub(super) const ITEM_BYTES: usize = 64;
/// The most levels of a value that is written or compared.
const LEVELS_MAX: usize = 1_000;

/// The bytes that a template has made for a prompt.
#[derive(Debug, Default)]
struct Made(AtomicUsize);

impl Object for Made {}

impl Made {
    fn of(state: &State) -> Arc<Self> {
        state.get_or_set_temp_object("made", Self::default)
    }

    /// Whether so many more may be made.
    fn takes(&self, bytes: usize) -> bool {
        let before = self
            .0
            .fetch_add(bytes.min(BYTES_MAX + 1), Ordering::Relaxed);
        before.saturating_add(bytes) <= BYTES_MAX
    }
}

/// Counts bytes that are about to be made.
///
/// # Errors
/// If they are too many.
pub(super) fn count(state: &State, bytes: usize) -> Result<(), Error> {
    match Made::of(state).takes(bytes) {
        true => Ok(()),
        false => Err(full()),
    }
}

/// A text whose bytes are counted before they are kept.
pub(super) struct Counted {
    bytes: Vec<u8>,
    made: Arc<Made>,
}

impl Counted {
    pub(super) fn new(state: &State) -> Self {
        let made = Made::of(state);
        Self {
            bytes: vec![],
            made,
        }
    }

    /// Adds the text of a value.
    ///
    /// # Errors
    /// If the value does not end, or if the text is too long.
    pub(super) fn add(&mut self, state: &State, value: &Value) -> Result<(), Error> {
        check_levels(state, value)?;
        fmt::Write::write_fmt(self, format_args!("{value}")).map_err(|_| full())
    }

    /// # Errors
    /// If the bytes are no text.
    pub(super) fn into_text(self) -> Result<String, Error> {
        String::from_utf8(self.bytes).map_err(|error| invalid(error.to_string()))
    }
}

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.made.takes(bytes.len()) {
            return Err(io::Error::other(full()));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for Counted {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        io::Write::write_all(self, text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Checks that a value ends, and counts its items, before it is written or compared: a namespace may have itself in an attribute, and
/// a list may have another one many times.
///
/// # Errors
/// If it has more than [`LEVELS_MAX`] levels, or too many items.
pub(super) fn check_levels(state: &State, value: &Value) -> Result<(), Error> {
    check_below(state, value, LEVELS_MAX)
}

fn check_below(state: &State, value: &Value, levels: usize) -> Result<(), Error> {
    if !is_nested(value) {
        return Ok(());
    }
    let is_map = value.kind() == ValueKind::Map;
    let Some(levels) = levels.checked_sub(1) else {
        let max = LEVELS_MAX;
        return Err(invalid(format!(
            "its values are nested in more than {max} levels"
        )));
    };
    for item in value.try_iter()? {
        count(state, ITEM_BYTES)?;
        let item = match is_map {
            true => value.get_item(&item)?,
            false => item,
        };
        check_below(state, &item, levels)?;
    }
    Ok(())
}

/// The values one behind the other.
///
/// # Errors
/// If one of them does not end, or if they are too long.
pub(super) fn written(state: &State, values: &[&Value]) -> Result<String, Error> {
    let mut text = Counted::new(state);
    for value in values {
        text.add(state, value)?;
    }
    text.into_text()
}

/// Writes a value of the template.
///
/// # Errors
/// Those of [`written`].
pub(super) fn write_counted(
    output: &mut Output,
    state: &State,
    value: &Value,
) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => {
            count(state, text.len())?;
            output.write_str(text)?;
        }
        None => output.write_str(&written(state, &[value])?)?,
    }
    Ok(())
}

pub(super) fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// Whether a value holds others.
pub(super) fn is_nested(value: &Value) -> bool {
    value.kind() == ValueKind::Map || is_list(value)
}

pub(super) fn invalid(problem: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}

fn full() -> Error {
    let max = BYTES_MAX >> 20;
    invalid(format!("it makes more than {max} MiB of texts"))
}
