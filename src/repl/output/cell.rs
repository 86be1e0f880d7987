//! Formatting of a single value as text.

use std::fmt::Write;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::Result;

/// The number of elements shown of a long vector.
const VECTOR_SHOWN: usize = 4;
/// The longest vector that is shown in full.
const VECTOR_FULL: usize = 8;

/// The values of a column as text.
pub(super) struct Cells<'a> {
    array: &'a dyn Array,
    formatter: ArrayFormatter<'a>,
    vectors: Option<Vec<Option<String>>>,
}

/// Formatting options of values.
#[derive(Clone, Copy)]
pub(super) struct CellOptions<'a> {
    pub(super) null: &'a str,
    pub(super) with_full_vectors: bool,
}

impl<'a> Cells<'a> {
    pub(super) fn try_new(array: &'a ArrayRef, options: CellOptions<'a>) -> Result<Self> {
        let format = FormatOptions::default().with_null(options.null);
        let vectors = match array.data_type() {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)
                if item.data_type().is_numeric() && !options.with_full_vectors =>
            {
                Some(short_vectors(array)?)
            }
            _ => None,
        };
        Ok(Self {
            array: array.as_ref(),
            formatter: ArrayFormatter::try_new(array.as_ref(), &format)?,
            vectors,
        })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    /// The value without control characters.
    pub(super) fn text(&self, row: usize) -> Result<String> {
        let short = self.vectors.as_ref().and_then(|short| short[row].clone());
        Ok(escaped(short.map_or_else(|| self.raw(row), Ok)?))
    }

    /// The lines of the value, each without control characters.
    pub(super) fn lines(&self, row: usize) -> Result<Vec<String>> {
        if let Some(short) = self.vectors.as_ref().and_then(|short| short[row].clone()) {
            return Ok(vec![short]);
        }
        let text = self.raw(row)?;
        let lines = text.trim_end_matches('\n').split('\n');
        Ok(lines.map(|line| escaped(line.to_owned())).collect())
    }

    /// The value unchanged.
    ///
    /// # Errors
    /// If a timestamp is outside the calendar's range.
    pub(super) fn raw(&self, row: usize) -> Result<String> {
        Ok(self.formatter.value(row).try_to_string()?)
    }
}

/// The abbreviations of long vectors: first elements and length; `None` for vectors that are shown in full.
fn short_vectors(array: &ArrayRef) -> Result<Vec<Option<String>>> {
    let item = Field::new_list_field(DataType::Float64, true);
    let lists = cast(array, &DataType::LargeList(item.into()))?;
    let lists = lists.as_list::<i64>();
    let short = (0..lists.len()).map(|row| {
        if lists.is_null(row) || lists.value_length(row) as usize <= VECTOR_FULL {
            return None;
        }
        let vector = lists.value(row);
        let vector = vector.as_primitive::<Float64Type>();
        let mut text = String::from("[");
        for element in 0..VECTOR_SHOWN {
            // Writing to a string cannot fail.
            let _ = match vector.is_null(element) {
                true => write!(text, "NULL, "),
                false => write!(text, "{:.4}, ", vector.value(element)),
            };
        }
        let _ = write!(text, "… {}]", vector.len());
        Some(text)
    });
    Ok(short.collect())
}

/// Escapes control characters, which must not reach the terminal.
pub(super) fn escaped(text: String) -> String {
    let is_harmful = |c: char| c.is_control() || is_bidirectional(c);
    if !text.contains(is_harmful) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Whether a character changes the direction of the following text.
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
