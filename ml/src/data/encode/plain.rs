//! Columns of numbers without NULLs, which are encoded directly from their Arrow buffers: the common and fast case.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};

use crate::data::encode::standardise::{Place, Real, Standardiser, standardise};
use crate::data::lists::Lists;

/// The buffer of a column of numbers without NULLs: one number per row, or arrays of one length, row-major.
pub(crate) enum PlainValues<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    I32(&'a [i32]),
    I64(&'a [i64]),
}

/// A column that is encoded without being split into parts.
pub(crate) struct PlainColumn<'a> {
    pub(crate) values: PlainValues<'a>,
    pub(crate) standardisers: &'a [Standardiser],
    /// The position of the column's first number in a row.
    pub(crate) offset: usize,
}

impl<'a> PlainValues<'a> {
    /// The values of a column with `width` numbers per row; `None` if the column must be split into parts.
    pub(crate) fn of(array: &'a ArrayRef, width: usize) -> Option<Self> {
        let (values, range) = match array.data_type() {
            DataType::List(_) => {
                let first = Lists::of(array).ok()?.contiguous(width)?;
                (array.as_list::<i32>().values(), first)
            }
            DataType::LargeList(_) => {
                let first = Lists::of(array).ok()?.contiguous(width)?;
                (array.as_list::<i64>().values(), first)
            }
            DataType::FixedSizeList(_, length) if *length as usize == width => {
                let lists = array.as_fixed_size_list();
                if lists.null_count() > 0 {
                    return None;
                }
                (lists.values(), 0)
            }
            _ if width == 1 => (array, 0),
            _ => return None,
        };
        let range = range..range + array.len() * width;
        if values.null_count() > 0 {
            return None;
        }
        macro_rules! part {
            ($type:ty) => {
                &values.as_primitive::<$type>().values()[range]
            };
        }
        match values.data_type() {
            DataType::Float32 => Some(Self::F32(part!(Float32Type))),
            DataType::Float64 => Some(Self::F64(part!(Float64Type))),
            DataType::Int32 => Some(Self::I32(part!(Int32Type))),
            DataType::Int64 => Some(Self::I64(part!(Int64Type))),
            _ => None,
        }
    }
}

/// Rows of a block, whose numbers stay in the nearest cache while the columns are written one after the other.
const BLOCK_ROWS: usize = 256;

/// Writes the numbers of these columns to rows of `stride` numbers.
pub(crate) fn encode_plain<T: Real>(columns: &[PlainColumn], stride: usize, numbers: &mut [T]) {
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
                    T::standardise_f32(&values[range], column.standardisers, numbers, to);
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
