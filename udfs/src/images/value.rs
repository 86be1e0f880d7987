//! [`Values`]: the values of an argument by row.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::util::display::FormatOptions;
use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use crate::vector::Vectors;

/// A value that does not fit its type is an error instead of NULL.
const STRICT: CastOptions<'_> = CastOptions {
    safe: false,
    format_options: FormatOptions::new(),
};

/// The values of an argument: one for each row, or one for all rows.
pub(super) struct Values {
    pub(super) array: ArrayRef,
    is_constant: bool,
}

impl Values {
    pub(super) fn try_new(value: &ColumnarValue) -> Result<Self> {
        Ok(match value {
            ColumnarValue::Array(array) => Self {
                array: Arc::clone(array),
                is_constant: false,
            },
            ColumnarValue::Scalar(scalar) => Self {
                array: scalar.to_array()?,
                is_constant: true,
            },
        })
    }

    pub(super) fn with_type(self, data_type: &DataType) -> Result<Self> {
        Ok(Self {
            array: strictly(&self.array, data_type)?,
            ..self
        })
    }

    /// The place of the value of a row in the array; `None` if the value is NULL.
    pub(super) fn place(&self, row: usize) -> Option<usize> {
        let place = if self.is_constant { 0 } else { row };
        let is_null = self.array.is_null(place) || self.array.data_type().is_null();
        (!is_null).then_some(place)
    }

    pub(super) fn integer(&self, row: usize) -> Option<i64> {
        let place = self.place(row)?;
        Some(self.array.as_primitive::<Int64Type>().value(place))
    }

    pub(super) fn text(&self, row: usize) -> Option<&str> {
        let place = self.place(row)?;
        Some(self.array.as_string::<i32>().value(place))
    }

    pub(super) fn binary(&self, row: usize) -> Option<&[u8]> {
        let place = self.place(row)?;
        match self.array.data_type() {
            DataType::Binary => Some(self.array.as_binary::<i32>().value(place)),
            DataType::LargeBinary => Some(self.array.as_binary::<i64>().value(place)),
            DataType::BinaryView => Some(self.array.as_binary_view().value(place)),
            DataType::FixedSizeBinary(_) => Some(self.array.as_fixed_size_binary().value(place)),
            _ => None,
        }
    }
}

/// The array with another type.
pub(super) fn strictly(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    Ok(cast_with_options(array, data_type, &STRICT)?)
}

/// Numbers or lists of numbers.
pub(super) enum Numbers {
    One(Values),
    Many(Box<Vectors>),
}

impl Numbers {
    pub(super) fn try_new(value: &ColumnarValue) -> Result<Self> {
        Ok(match value.data_type().is_numeric() {
            true => Self::One(Values::try_new(value)?.with_type(&DataType::Float64)?),
            false => Self::Many(Box::new(Vectors::of_argument(value)?)),
        })
    }

    /// The numbers of a row; `None` if one of them is NULL.
    pub(super) fn row(&self, row: usize) -> Option<Cow<'_, [f64]>> {
        match self {
            Self::One(values) => {
                let place = values.place(row)?;
                let number = values.array.as_primitive::<Float64Type>().value(place);
                Some(Cow::Owned(vec![number]))
            }
            Self::Many(vectors) => vectors.row(row).map(Cow::Borrowed),
        }
    }
}
