//! Coercion of a query's columns to the types of training: encodings are removed, and each value is checked against the
//! type of training. No value becomes NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, new_null_array};
use arrow::compute::kernels::cmp::neq;
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::array_value_to_string;

use crate::data::lists::{Lists, to_large_list, to_list};
use crate::data::types::{Coercion, canonical_type, coercion, item_type, type_name};
use crate::{Error, Result};

/// Casts fail on a value that does not fit.
const STRICT: CastOptions<'_> = CastOptions {
    safe: false,
    format_options: arrow::util::display::FormatOptions::new(),
};

/// Rows that fail, each with the cause, ascending.
pub(crate) type Failures = Vec<(usize, String)>;

/// The column without dictionary, run-end or view encoding: in the canonical form of its type.
pub fn canonical_array(array: &ArrayRef) -> Result<ArrayRef> {
    let canonical = canonical_type(array.data_type());
    match (array.data_type(), &canonical) {
        (found, canonical) if found == canonical => Ok(Arc::clone(array)),
        (DataType::ListView(_), _) => to_list(array),
        (DataType::LargeListView(_), _) => to_large_list(array),
        (DataType::Dictionary(_, value), _) => {
            canonical_array(&cast_with_options(array, value, &STRICT)?)
        }
        (DataType::RunEndEncoded(_, values), _) => {
            canonical_array(&cast_with_options(array, values.data_type(), &STRICT)?)
        }
        _ => Ok(cast_with_options(array, &canonical, &STRICT)?),
    }
}

/// The column for a feature of type `to`, and the rows whose value does not fit that type.
///
/// The column keeps its values in a type of the same kind: an integer stays an integer where training had floats.
///
/// # Errors
/// [`Error::Type`] if no value of the column can have the type `to`.
pub(crate) fn coerced(name: &str, array: &ArrayRef, to: &DataType) -> Result<(ArrayRef, Failures)> {
    if array.data_type() == &DataType::Null {
        return Ok((new_null_array(to, array.len()), vec![]));
    }
    let array = canonical_array(array)?;
    match coercion(array.data_type(), to) {
        Some(Coercion::ByType) => Ok((array, vec![])),
        Some(Coercion::ByValue) => {
            let failures = failures(name, &array, to)?;
            Ok((array, failures))
        }
        None => Err(Error::Type(format!(
            "column \"{name}\" is {}, the model takes {}",
            type_name(array.data_type()),
            type_name(to)
        ))),
    }
}

fn failures(name: &str, array: &ArrayRef, to: &DataType) -> Result<Failures> {
    let (Some(item), true) = (item_type(to), item_type(array.data_type()).is_some()) else {
        let misfits = misfits(array, to)?;
        let of_row = |row: usize| Ok((row, cause(name, array, row, to)?));
        return misfits.into_iter().map(of_row).collect();
    };
    let lists = Lists::of(array)?;
    let (start, values) = lists.used_values();
    let misfits = misfits(&values, &item)?;
    if misfits.is_empty() {
        return Ok(vec![]);
    }
    let mut failures = vec![];
    for row in (0..lists.rows.len()).filter(|&row| lists.is_valid(row)) {
        let (first, length) = lists.rows[row];
        let first = first - start.min(first);
        let next = misfits.partition_point(|&element| element < first);
        if let Some(&element) = misfits.get(next)
            && element < first + length
        {
            failures.push((row, cause(name, &values, element, &item)?));
        }
    }
    Ok(failures)
}

fn cause(name: &str, values: &ArrayRef, at: usize, to: &DataType) -> Result<String> {
    let value = array_value_to_string(values, at)?;
    let to = type_name(to);
    Ok(format!(
        "{value} in column \"{name}\" is no {to}, which the model was trained on"
    ))
}

/// The positions of numbers that do not fit the type `to`: a cast to `to` and back changes them. Floats may be rounded
/// to shorter floats, as long as they stay finite.
fn misfits(array: &ArrayRef, to: &DataType) -> Result<Vec<usize>> {
    let from = array.data_type();
    let there = cast(array, to)?;
    if from.is_floating() {
        let to_f64 =
            |array: &ArrayRef| -> Result<ArrayRef> { Ok(cast(array, &DataType::Float64)?) };
        let (before, after) = (to_f64(array)?, to_f64(&there)?);
        let (before, after) = (
            before.as_primitive::<Float64Type>(),
            after.as_primitive::<Float64Type>(),
        );
        let may_round = to.is_floating();
        let is_misfit = |row: &usize| {
            let value = before.value(*row);
            match after.is_null(*row) {
                true => true,
                false if may_round => value.is_finite() && !after.value(*row).is_finite(),
                // NaN differs from itself, so it is a misfit.
                false => value != after.value(*row),
            }
        };
        let rows = (0..array.len()).filter(|row| before.is_valid(*row));
        return Ok(rows.filter(is_misfit).collect());
    }
    let back = cast(&there, from)?;
    let differs = neq(array, &back)?;
    let rows = (0..array.len()).filter(|row| array.is_valid(*row));
    Ok(rows
        .filter(|&row| back.is_null(row) || differs.value(row))
        .collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float32Array, Float64Array, Int64Array};
    use arrow::datatypes::DataType::{Decimal128, Float32, Float64, Int8, Int64, UInt64};

    use super::*;

    fn check(array: ArrayRef, to: DataType, expected: &[usize]) {
        let (_, found) = coerced("c", &array, &to).unwrap();
        let rows: Vec<usize> = found.iter().map(|(row, _)| *row).collect();
        assert_eq!(rows, expected, "{:?} to {to}: {found:?}", array.data_type());
    }

    #[test]
    fn only_values_that_come_back_as_they_were_fit() {
        let f64s = |values: &[f64]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
        let i64s = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let two_to_63 = 9_223_372_036_854_775_808.0;
        check(
            f64s(&[
                1.0,
                -0.0,
                2.5,
                f64::NAN,
                f64::INFINITY,
                two_to_63,
                -two_to_63,
            ]),
            Int64,
            &[2, 3, 4, 5],
        );
        check(f64s(&[-1.0, 255.0, 1e300]), UInt64, &[0, 2]);
        check(f64s(&[0.1, 1e39, f64::NAN, f64::INFINITY]), Float32, &[1]);
        check(i64s(&[1 << 53, (1 << 53) + 1, i64::MAX]), Float64, &[1, 2]);
        check(i64s(&[127, 128, -129]), Int8, &[1, 2]);
        check(f64s(&[0.1, 0.125, 1e9]), Decimal128(10, 2), &[1, 2]);
        check(i64s(&[5, 12_345_678_901]), Decimal128(10, 2), &[1]);
        let decimals = Decimal128Array::from(vec![Some(300), Some(250), None]);
        let decimals = decimals.with_precision_and_scale(10, 2).unwrap();
        check(Arc::new(decimals.clone()), Int64, &[1]);
        check(Arc::new(decimals), Float64, &[]);
        check(Arc::new(Float32Array::from(vec![0.1, 3.0])), Int64, &[0]);
    }

    #[test]
    fn a_list_fails_in_the_row_of_its_element() {
        let lists = arrow::array::ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(0.5)]),
            Some(vec![Some(1.0), Some(2.0)]),
            None,
            Some(vec![Some(3.0), Some(4.5)]),
        ]);
        let item = Arc::new(arrow::datatypes::Field::new_list_field(Int64, true));
        let lists: ArrayRef = Arc::new(lists);
        check(lists.slice(1, 3), DataType::List(item), &[2]);
    }
}
