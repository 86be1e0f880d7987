//! [`parts`]: splits a column into numbers and categories, before any learnt encoding is applied: dates into their
//! parts, arrays into their elements.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use crate::data::calendar::calendar_parts;
use crate::data::coerce::canonical_array;
use crate::data::columns::{FeatureKind, NUMBERS_MAX, too_many_numbers};
use crate::data::lists::Lists;
use crate::data::parts::{CategoryPart, Parts};
use crate::data::types::canonical_type;
use crate::{Error, Result};

const BOOLEANS: &[&str] = &["false", "true"];
/// Splits a column into numbers and categories.
///
/// With a `width`, arrays of another length become [`Parts::failures`]; without, all arrays must have one length.
///
/// # Errors
/// [`Error::Invalid`] if arrays differ in length; a type that cannot be a feature.
pub fn parts(name: &str, array: &ArrayRef, width: Option<usize>) -> Result<Parts> {
    if let DataType::FixedSizeBinary(_) = array.data_type() {
        // The pixels of an image, as a training holds them.
        return Ok(whole(array.nulls().cloned()));
    }
    let array = &canonical_array(array)?;
    let valid = array.logical_nulls();
    match FeatureKind::of(name, array.data_type())? {
        FeatureKind::Number => Ok(Parts {
            numbers: to_f64(array)?.values().clone(),
            width: 1,
            valid,
            ..Parts::default()
        }),
        FeatureKind::Category if canonical_type(array.data_type()) == DataType::Boolean => {
            let array = cast(array, &DataType::Boolean)?;
            let codes = boolean_codes(array.as_boolean());
            Ok(Parts {
                categories: vec![CategoryPart::Coded(codes, BOOLEANS, "")],
                valid,
                ..Parts::default()
            })
        }
        FeatureKind::Category => {
            let text = cast(array, &DataType::Utf8)?;
            let categories = vec![CategoryPart::Text(text.as_string::<i32>().clone())];
            Ok(Parts {
                categories,
                valid,
                ..Parts::default()
            })
        }
        FeatureKind::Date => calendar_parts(array, valid, false),
        FeatureKind::Timestamp => calendar_parts(array, valid, true),
        FeatureKind::Array => array_parts(name, array, width),
        FeatureKind::Image => Ok(whole(valid)),
    }
}

/// An image, which has no numbers besides its pixels, and no categories.
fn whole(valid: Option<NullBuffer>) -> Parts {
    Parts {
        valid,
        ..Parts::default()
    }
}

fn to_f64(array: &ArrayRef) -> Result<Float64Array> {
    Ok(cast(array, &DataType::Float64)?
        .as_primitive::<Float64Type>()
        .clone())
}

fn boolean_codes(array: &BooleanArray) -> Vec<u32> {
    array.values().iter().map(u32::from).collect()
}

fn array_parts(name: &str, array: &ArrayRef, expected: Option<usize>) -> Result<Parts> {
    let lists = Lists::of(array)?;
    let count = lists.rows.len();
    let mut valid: Vec<bool> = (0..count).map(|row| lists.is_valid(row)).collect();
    let width = match (expected, array.data_type()) {
        (Some(width), _) => width,
        (None, DataType::FixedSizeList(_, width)) => *width as usize,
        (None, _) => (0..count)
            .find(|&row| valid[row])
            .map_or(0, |row| lists.rows[row].1),
    };
    if width > NUMBERS_MAX {
        return Err(too_many_numbers(name, width));
    }
    let mut failures = Vec::new();
    for (row, &(_, found)) in lists.rows.iter().enumerate() {
        if !valid[row] || found == width {
            continue;
        }
        if expected.is_none() {
            return Err(Error::Invalid(format!(
                "column \"{name}\" holds arrays of length {width} and of length {found}; all arrays of a column have one length"
            )));
        }
        valid[row] = false;
        failures.push((
            row,
            format!(
                "column \"{name}\" is an array of length {found}, the model takes length {width}"
            ),
        ));
    }
    let (first, values) = lists.used_values();
    let values = to_f64(&values)?;
    let mut numbers = vec![0.0; count * width];
    for (row, &(start, _)) in lists.rows.iter().enumerate() {
        if width == 0 || !valid[row] {
            continue;
        }
        let start = start - first;
        numbers[row * width..][..width].copy_from_slice(&values.values()[start..start + width]);
        if values.null_count() > 0 {
            valid[row] = (start..start + width).all(|element| values.is_valid(element));
        }
    }
    let valid = NullBuffer::from(valid);
    let valid = (valid.null_count() > 0).then_some(valid);
    Ok(Parts {
        numbers: numbers.into(),
        width,
        categories: vec![],
        valid,
        failures,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn arrays_of_two_lengths_are_refused() {
        let lists = arrow::array::ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(1.0), Some(2.0)]),
            Some(vec![Some(1.0)]),
        ]);
        let error = parts("pixels", &(Arc::new(lists) as ArrayRef), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("length 2 and of length 1"), "{error}");
    }
}
