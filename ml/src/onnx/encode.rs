//! Columns → tensors by input. A value that does not fit the input is a failure of its row. Rows with a NULL or a failure are
//! marked, and never computed.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use candle_core::{Tensor, WithDType};

use super::element::Stored;
use super::inputs::{Input, Row};
use super::ports::input_type;
use super::texts::to_tensors;
use crate::data::coerce::coerced;
use crate::data::inputs::{Inputs, RowReport};
use crate::data::lists::Lists;
use crate::device::HOST;
use crate::{Error, Result};

/// The name of the tensor `[rows]` (u8) that has 1 for rows to compute; there is none if all are. No input has this name.
pub(super) const COMPUTED: &str = "\0computed";
/// The most bytes of a text: texts of a batch take as much memory each as the longest.
const TEXT_BYTES_MAX: usize = 4096;
/// The most elements of a list of any length, for the same reason.
const LENGTH_MAX: usize = 8192;

/// A column as a tensor, and the lengths of its rows or texts.
struct Encoded {
    values: Tensor,
    lengths: Option<Tensor>,
    valid: Option<NullBuffer>,
    /// Each row once.
    failures: Vec<(usize, String)>,
}

/// The rows of a batch whose columns are the inputs in their order.
///
/// # Errors
/// [`Error::Type`] for a column of a type that an input does not take.
pub(super) fn encode(inputs: &[Input], batch: &RecordBatch) -> Result<Inputs> {
    let rows = batch.num_rows();
    let mut report = RowReport::default();
    let mut all = Inputs::new(rows);
    for (input, array) in inputs.iter().zip(batch.columns()) {
        let name = &input.name;
        let column = encoded(input, array)?;
        let fits = fits(rows, &column.failures);
        let valid = NullBuffer::union(column.valid.as_ref(), fits.as_ref());
        report.add(name, valid.as_ref(), column.failures);
        all = match column.lengths {
            Some(lengths) => all.with_lengths(name, column.values, lengths)?,
            None => all.with(name, column.values)?,
        };
    }
    each_row_once(&mut report.failures);
    if let Some(valid) = report.valid.as_ref().filter(|valid| valid.null_count() > 0) {
        let computed: Vec<u8> = valid.iter().map(u8::from).collect();
        all = all.with(COMPUTED, Tensor::from_vec(computed, rows, &HOST)?)?;
    }
    all.report = report;
    Ok(all)
}

/// Which rows do not fail; `None` if none does.
pub(super) fn fits(rows: usize, failures: &[(usize, String)]) -> Option<NullBuffer> {
    if failures.is_empty() {
        return None;
    }
    let mut fits = vec![true; rows];
    failures.iter().for_each(|(row, _)| fits[*row] = false);
    Some(NullBuffer::from(fits))
}

/// Of several failures of a row, one stays.
fn each_row_once(failures: &mut Vec<(usize, String)>) {
    failures.sort();
    failures.dedup_by_key(|(row, _)| *row);
}

fn encoded(input: &Input, array: &ArrayRef) -> Result<Encoded> {
    let (array, failures) = coerced(&input.name, array, &input_type(input))?;
    let encoded = match input.element.stored() {
        Stored::F32 => numbers::<Float32Type>(input, &array),
        Stored::F64 => numbers::<Float64Type>(input, &array),
        Stored::I64 => numbers::<Int64Type>(input, &array),
        Stored::Bool => flags(input, &array),
        Stored::Text => texts(input, &array),
    };
    let mut encoded = encoded?;
    encoded.failures.extend(failures);
    each_row_once(&mut encoded.failures);
    Ok(encoded)
}

fn numbers<T: ArrowPrimitiveType>(input: &Input, array: &ArrayRef) -> Result<Encoded>
where
    T::Native: WithDType,
{
    let of = |array: &ArrayRef| -> Result<Vec<T::Native>> {
        let array = cast(array, &T::DATA_TYPE)?;
        let array = array.as_primitive::<T>();
        // NULLs may have any value, so that rows with one would not be reproducible.
        Ok(match array.null_count() {
            0 => array.values().to_vec(),
            _ => array.iter().map(Option::unwrap_or_default).collect(),
        })
    };
    columns(input, array, of)
}

fn flags(input: &Input, array: &ArrayRef) -> Result<Encoded> {
    let of = |array: &ArrayRef| -> Result<Vec<u8>> {
        let array = cast(array, &DataType::Boolean)?;
        let flags = array.as_boolean().iter();
        Ok(flags.map(|flag| u8::from(flag.unwrap_or(false))).collect())
    };
    columns(input, array, of)
}

/// A column of numbers; `of` returns those of an array without lists.
fn columns<T: WithDType + Default>(
    input: &Input,
    array: &ArrayRef,
    of: impl Fn(&ArrayRef) -> Result<Vec<T>>,
) -> Result<Encoded> {
    let rows = array.len();
    let Row::One { .. } = input.row else {
        return lists(input, array, of);
    };
    Ok(Encoded {
        values: Tensor::from_vec(of(array)?, rows, &HOST)?,
        lengths: None,
        valid: array.logical_nulls(),
        failures: vec![],
    })
}

/// A column of lists of numbers, each of the width of the input, or filled up to the longest.
fn lists<T: WithDType + Default>(
    input: &Input,
    array: &ArrayRef,
    of: impl Fn(&ArrayRef) -> Result<Vec<T>>,
) -> Result<Encoded> {
    let lists = Lists::of(array)?;
    let rows = lists.rows.len();
    let places = Places::of(input, &lists);
    let width = places.width;
    if let (Some(first), None) = (lists.contiguous(width), &places.lengths) {
        let values = lists.values.slice(first, rows * width);
        if values.null_count() == 0 {
            return Ok(Encoded {
                values: Tensor::from_vec(of(&values)?, (rows, width), &HOST)?,
                lengths: None,
                valid: None,
                failures: vec![],
            });
        }
    }
    let (first, used) = lists.used_values();
    let nulls = used.logical_nulls();
    let elements = of(&used)?;
    let mut values = vec![T::default(); rows * width];
    let mut valid: Vec<bool> = (0..rows).map(|row| lists.is_valid(row)).collect();
    for (row, length) in places.taken(&lists) {
        let start = lists.rows[row].0 - first;
        values[row * width..][..length].copy_from_slice(&elements[start..start + length]);
        if let Some(nulls) = &nulls {
            valid[row] = (start..start + length).all(|element| nulls.is_valid(element));
        }
    }
    let lengths = places
        .lengths
        .map(|lengths| Tensor::from_vec(lengths, rows, &HOST));
    Ok(Encoded {
        values: Tensor::from_vec(values, (rows, width), &HOST)?,
        lengths: lengths.transpose()?,
        valid: Some(NullBuffer::from(valid)).filter(|valid| valid.null_count() > 0),
        failures: places.failures,
    })
}

/// Which rows of lists fit an input.
struct Places {
    /// The elements of a row in the tensor.
    width: usize,
    /// The elements of each list, if they may differ; 0 for a row that does not fit.
    lengths: Option<Vec<u32>>,
    failures: Vec<(usize, String)>,
}

impl Places {
    fn of(input: &Input, lists: &Lists) -> Self {
        let name = &input.name;
        let valid = (0..lists.rows.len()).filter(|row| lists.is_valid(*row));
        let valid = valid.map(|row| (row, lists.rows[row].1));
        let shape = match &input.row {
            Row::Array(shape) => shape.as_slice(),
            Row::One { .. } => &[],
            Row::List { .. } => {
                let wrong = |length: usize| match length {
                    0 => Some(format!("column \"{name}\" is an empty array")),
                    1..=LENGTH_MAX => None,
                    _ => Some(format!(
                        "column \"{name}\" is an array of length {length}, the model takes at most {LENGTH_MAX}"
                    )),
                };
                let failures: Vec<(usize, String)> = valid
                    .clone()
                    .filter_map(|(row, length)| Some((row, wrong(length)?)))
                    .collect();
                let mut lengths = vec![0; lists.rows.len()];
                for (row, length) in valid.filter(|(_, length)| wrong(*length).is_none()) {
                    lengths[row] = length as u32;
                }
                let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
                return Self {
                    width: longest.max(1),
                    lengths: Some(lengths),
                    failures,
                };
            }
        };
        let width: usize = shape.iter().product();
        let failures = valid.filter(|(_, length)| *length != width);
        let failures = failures.map(|(row, length)| {
            let cause = format!(
                "column \"{name}\" is an array of length {length}, the model takes length {width}"
            );
            (row, cause)
        });
        Self {
            width,
            lengths: None,
            failures: failures.collect(),
        }
    }

    /// The rows that fit, with their lengths.
    fn taken<'a>(&'a self, lists: &'a Lists) -> impl Iterator<Item = (usize, usize)> + 'a {
        (0..lists.rows.len()).filter_map(move |row| match &self.lengths {
            Some(lengths) => Some((row, lengths[row] as usize)).filter(|(_, length)| *length > 0),
            None => {
                let fits = lists.is_valid(row) && lists.rows[row].1 == self.width;
                fits.then_some((row, self.width))
            }
        })
    }
}

/// A column of texts, or of lists of as many texts as the input wants.
fn texts(input: &Input, array: &ArrayRef) -> Result<Encoded> {
    let rows = array.len();
    let as_texts = |array: &ArrayRef| -> Result<StringArray> {
        Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone())
    };
    let (texts, width, mut valid, mut failures) = match &input.row {
        Row::One { .. } => {
            let valid = (0..rows).map(|row| array.is_valid(row)).collect();
            (as_texts(array)?, 1, valid, vec![])
        }
        Row::Array(_) => {
            let lists = Lists::of(array)?;
            let places = Places::of(input, &lists);
            // The texts of rows that do not fit are taken from any place, since they are never computed.
            let mut at = vec![None; rows * places.width];
            for (row, width) in places.taken(&lists) {
                let (start, places) = (lists.rows[row].0, &mut at[row * width..][..width]);
                places
                    .iter_mut()
                    .zip(start..)
                    .for_each(|(place, from)| *place = Some(from as u64));
            }
            let at = arrow::array::UInt64Array::from(at);
            let taken = arrow::compute::take(&lists.values, &at, None)?;
            let texts = as_texts(&taken)?;
            let is_whole = |row: usize| {
                let places = row * places.width..(row + 1) * places.width;
                lists.is_valid(row) && places.clone().all(|place| texts.is_valid(place))
            };
            let valid: Vec<bool> = (0..rows).map(is_whole).collect();
            (texts, places.width, valid, places.failures)
        }
        Row::List { .. } => {
            let name = &input.name;
            return Err(Error::Internal(format!(
                "input \"{name}\" is a list of texts, which no model has"
            )));
        }
    };
    let mut parts: Vec<&str> = Vec::with_capacity(texts.len());
    for (place, text) in texts.iter().enumerate() {
        let text = text.unwrap_or_default();
        let fits = text.len() <= TEXT_BYTES_MAX;
        if !fits && valid[place / width] {
            valid[place / width] = false;
            let cause = format!(
                "column \"{}\" has a text of {} bytes, the model takes at most {TEXT_BYTES_MAX}",
                input.name,
                text.len()
            );
            failures.push((place / width, cause));
        }
        parts.push(if fits { text } else { "" });
    }
    let shape = match width {
        1 if matches!(input.row, Row::One { .. }) => vec![rows],
        _ => vec![rows, width],
    };
    let (values, lengths) = to_tensors(&parts, &shape)?;
    Ok(Encoded {
        values,
        lengths: Some(lengths),
        valid: Some(NullBuffer::from(valid)).filter(|valid| valid.null_count() > 0),
        failures,
    })
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
