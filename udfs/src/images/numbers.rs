//! [`Numbers`]: an argument that is a number or a list of numbers, by row.

use std::borrow::Cow;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float64Type};
use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use crate::call::Values;
use crate::vector::Vectors;

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
