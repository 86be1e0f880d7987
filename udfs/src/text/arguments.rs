//! The arguments of a call by row: [`Column`] of texts or whole numbers, [`Tokens`] of lists of texts.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeListArray, LargeStringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Int64Type};
use arrow::util::display::FormatOptions;
use datafusion_common::{Result, exec_err, resources_err};
use datafusion_expr::{ColumnarValue, Signature, TypeSignature, Volatility};

use crate::guard::RESULT_BYTES_MAX;
use crate::vector::without_rest;

/// A value that does not fit its type is an error instead of NULL.
const STRICT: CastOptions<'_> = CastOptions {
    safe: false,
    format_options: FormatOptions::new(),
};

/// The signature of a function whose last `optional` parameters may be left out. Arguments may be named.
pub(super) fn signature(names: &[&str], optional: usize) -> Signature {
    let counts = (names.len() - optional)..=names.len();
    Signature {
        type_signature: TypeSignature::OneOf(counts.map(TypeSignature::Any).collect()),
        volatility: Volatility::Immutable,
        parameter_names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
    }
}

/// Whether a type holds whole numbers, or is that of NULL.
pub(super) fn is_whole(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_null()
}

/// Whether a type holds texts, or is that of NULL.
pub(super) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        // The columns of partition folders.
        DataType::Dictionary(_, value) => value.is_string(),
        other => other.is_string() || other.is_null(),
    }
}

/// Whether a type is a list of texts, or that of NULL.
pub(super) fn is_list_of_texts(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_text(item.data_type())
        }
        other => other.is_null(),
    }
}

/// A value for each row, or one for all rows.
pub(super) struct Column {
    array: ArrayRef,
    is_constant: bool,
}

impl Column {
    pub(super) fn of_texts(argument: &ColumnarValue) -> Result<Self> {
        Self::try_new(argument, &DataType::LargeUtf8)
    }

    pub(super) fn of_integers(argument: &ColumnarValue) -> Result<Self> {
        Self::try_new(argument, &DataType::Int64)
    }

    fn try_new(argument: &ColumnarValue, data_type: &DataType) -> Result<Self> {
        let (array, is_constant) = array_of(argument)?;
        Ok(Self {
            array: cast_with_options(&array, data_type, &STRICT)?,
            is_constant,
        })
    }

    /// The text of a row; `None` if it is NULL.
    pub(super) fn text(&self, row: usize) -> Option<&str> {
        let place = self.place(row)?;
        Some(self.array.as_string::<i64>().value(place))
    }

    /// The whole number of a row; `None` if it is NULL.
    pub(super) fn integer(&self, row: usize) -> Option<i64> {
        let place = self.place(row)?;
        Some(self.array.as_primitive::<Int64Type>().value(place))
    }

    fn place(&self, row: usize) -> Option<usize> {
        let place = if self.is_constant { 0 } else { row };
        self.array.is_valid(place).then_some(place)
    }
}

/// A list of texts for each row, or one for all rows.
pub(super) struct Tokens {
    lists: LargeListArray,
    texts: LargeStringArray,
    is_constant: bool,
}

impl Tokens {
    pub(super) fn try_new(argument: &ColumnarValue) -> Result<Self> {
        let (array, is_constant) = array_of(argument)?;
        let item = Arc::new(Field::new_list_field(DataType::LargeUtf8, true));
        let lists = cast_with_options(&without_rest(&array)?, &DataType::LargeList(item), &STRICT)?;
        let lists = lists.as_list::<i64>().clone();
        let texts = lists.values().as_string::<i64>().clone();
        Ok(Self {
            lists,
            texts,
            is_constant,
        })
    }

    /// The places of the tokens of a row; `None` if the list is NULL or has a NULL.
    pub(super) fn places(&self, row: usize) -> Option<Range<usize>> {
        let row = if self.is_constant { 0 } else { row };
        if self.lists.is_null(row) {
            return None;
        }
        let offsets = self.lists.value_offsets();
        let places = offsets[row] as usize..offsets[row + 1] as usize;
        let has_null =
            self.texts.null_count() > 0 && places.clone().any(|place| self.texts.is_null(place));
        (!has_null).then_some(places)
    }

    /// The token at a place.
    pub(super) fn token(&self, place: usize) -> &str {
        self.texts.value(place)
    }
}

fn array_of(argument: &ColumnarValue) -> Result<(ArrayRef, bool)> {
    Ok(match argument {
        ColumnarValue::Array(array) => (Arc::clone(array), false),
        ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
    })
}

/// A whole number that must be in a range.
///
/// # Errors
/// If the number is outside of the range.
pub(super) fn within(
    function: &str,
    name: &str,
    number: i64,
    range: RangeInclusive<i64>,
) -> Result<usize> {
    match range.contains(&number) {
        true => Ok(number as usize),
        false => exec_err!(
            "{function} takes {name} from {} to {}, found {number}",
            range.start(),
            range.end()
        ),
    }
}

/// Refuses a result of a batch that takes too much memory.
///
/// # Errors
/// If the bytes are above the limit.
pub(super) fn check_result(function: &str, bytes: usize) -> Result<()> {
    match bytes as u128 <= RESULT_BYTES_MAX {
        true => Ok(()),
        false => resources_err!(
            "{function} would make {bytes} bytes, at most {RESULT_BYTES_MAX} are allowed at once; SET \
             datafusion.execution.batch_size to fewer rows"
        ),
    }
}
