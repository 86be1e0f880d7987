//! Columns of numbers without NULLs, which are encoded as they lie in memory: the common case, and the fast one.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};

use crate::features::Standardiser;
use crate::simd::simd_fn;

/// Numbers without NULLs as they lie in a column: one a row, or arrays of one length, row-major.
pub(crate) enum PlainValues<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    I32(&'a [i32]),
    I64(&'a [i64]),
}

/// A column that is encoded without being taken apart.
pub(crate) struct PlainColumn<'a> {
    pub(crate) values: PlainValues<'a>,
    pub(crate) standardisers: &'a [Standardiser],
    /// The place of its first number in a row.
    pub(crate) offset: usize,
}

impl<'a> PlainValues<'a> {
    /// The values of a column that gives `width` numbers a row; `None` if it has to be taken apart.
    pub(crate) fn of(array: &'a ArrayRef, width: usize) -> Option<Self> {
        let (array, is_width) = match array.as_fixed_size_list_opt() {
            Some(lists) if lists.null_count() == 0 => {
                (lists.values(), lists.value_length() as usize == width)
            }
            Some(_) => return None,
            None => (array, width == 1),
        };
        if array.null_count() > 0 || !is_width {
            return None;
        }
        match array.data_type() {
            DataType::Float32 => Some(Self::F32(array.as_primitive::<Float32Type>().values())),
            DataType::Float64 => Some(Self::F64(array.as_primitive::<Float64Type>().values())),
            DataType::Int32 => Some(Self::I32(array.as_primitive::<Int32Type>().values())),
            DataType::Int64 => Some(Self::I64(array.as_primitive::<Int64Type>().values())),
            _ => None,
        }
    }
}

/// Rows whose numbers stay in the nearest cache while one column after the other is written to them.
const BLOCK_ROWS: usize = 256;

/// Writes the numbers of these columns to rows of `stride` numbers.
pub(crate) fn encode_plain(columns: &[PlainColumn], stride: usize, numbers: &mut [f32]) {
    for (block, numbers) in numbers.chunks_mut(BLOCK_ROWS * stride.max(1)).enumerate() {
        let rows = numbers.len() / stride;
        for column in columns {
            let width = column.standardisers.len();
            let range = block * BLOCK_ROWS * width..(block * BLOCK_ROWS + rows) * width;
            let to = Place {
                stride,
                offset: column.offset,
            };
            match column.values {
                PlainValues::F32(values) => {
                    standardise_f32(&values[range], column.standardisers, numbers, to);
                }
                PlainValues::F64(values) => {
                    standardise(&values[range], column.standardisers, numbers, to, |x| x);
                }
                PlainValues::I32(values) => {
                    standardise(&values[range], column.standardisers, numbers, to, f64::from);
                }
                PlainValues::I64(values) => {
                    standardise(&values[range], column.standardisers, numbers, to, |x| {
                        x as f64
                    });
                }
            }
        }
    }
}

/// Where the numbers of a column go in row-major rows.
#[derive(Clone, Copy)]
struct Place {
    stride: usize,
    offset: usize,
}

simd_fn! {
    fn standardise_f32<'a>(
        values: &'a [f32],
        standardisers: &'a [Standardiser],
        numbers: &'a mut [f32],
        to: Place,
    ) {
        standardise(values, standardisers, numbers, to, f64::from);
    }
}

#[inline(always)]
fn standardise<T: Copy>(
    values: &[T],
    standardisers: &[Standardiser],
    numbers: &mut [f32],
    to: Place,
    to_f64: impl Fn(T) -> f64,
) {
    if let [Standardiser { mean, std }] = *standardisers {
        let scale = 1.0 / std;
        let places = numbers[to.offset..].iter_mut().step_by(to.stride);
        for (number, &value) in places.zip(values) {
            *number = ((to_f64(value) - mean) * scale) as f32;
        }
        return;
    }
    let rows = numbers.chunks_exact_mut(to.stride);
    for (row, values) in rows.zip(values.chunks_exact(standardisers.len().max(1))) {
        let places = row[to.offset..].iter_mut();
        for ((number, &value), Standardiser { mean, std }) in places.zip(values).zip(standardisers)
        {
            *number = ((to_f64(value) - mean) * (1.0 / std)) as f32;
        }
    }
}
