//! A call of a function: its [`signature`], and the [`Values`] of an argument by row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::display::FormatOptions;
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, Signature, TypeSignature, Volatility};

/// A value that does not fit its type is an error instead of NULL.
const STRICT: CastOptions<'_> = CastOptions {
    safe: false,
    format_options: FormatOptions::new(),
};

/// The signature of a function whose last `optional` parameters may be left out. Arguments may be named.
pub(crate) fn signature(names: &[&str], optional: usize) -> Signature {
    let counts = (names.len() - optional)..=names.len();
    Signature {
        type_signature: TypeSignature::OneOf(counts.map(TypeSignature::Any).collect()),
        volatility: Volatility::Immutable,
        parameter_names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
    }
}

/// The values of an argument: one for each row, or one for all rows.
pub(crate) struct Values {
    pub(crate) array: ArrayRef,
    pub(crate) is_constant: bool,
}

impl Values {
    pub(crate) fn try_new(value: &ColumnarValue) -> Result<Self> {
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

    pub(crate) fn of_integers(value: &ColumnarValue) -> Result<Self> {
        Self::try_new(value)?.with_type(&DataType::Int64)
    }

    pub(crate) fn of_texts(value: &ColumnarValue) -> Result<Self> {
        Self::try_new(value)?.with_type(&DataType::LargeUtf8)
    }

    pub(crate) fn with_type(self, data_type: &DataType) -> Result<Self> {
        Ok(Self {
            array: strictly(&self.array, data_type)?,
            ..self
        })
    }

    /// The place of the value of a row in the array; `None` if the value is NULL.
    pub(crate) fn place(&self, row: usize) -> Option<usize> {
        let place = if self.is_constant { 0 } else { row };
        let is_null = self.array.is_null(place) || self.array.data_type().is_null();
        (!is_null).then_some(place)
    }

    /// The whole number of a row; `None` if it is NULL.
    pub(crate) fn integer(&self, row: usize) -> Option<i64> {
        let place = self.place(row)?;
        Some(self.array.as_primitive::<Int64Type>().value(place))
    }

    /// The text of a row; `None` if it is NULL.
    pub(crate) fn text(&self, row: usize) -> Option<&str> {
        let place = self.place(row)?;
        Some(self.array.as_string::<i64>().value(place))
    }

    /// The bytes of a row; `None` if they are NULL.
    pub(crate) fn binary(&self, row: usize) -> Option<&[u8]> {
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
pub(crate) fn strictly(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    Ok(cast_with_options(array, data_type, &STRICT)?)
}
