//! [`Tokens`]: an argument that is a list of texts, by row. Checks of the types and the numbers of arguments, and of the size of results.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use arrow::array::{Array, AsArray, LargeListArray, LargeStringArray};
use arrow::datatypes::{DataType, Field};
use datafusion_common::{Result, exec_err};
use datafusion_expr::ColumnarValue;

use crate::call::{Values, strictly};
use crate::guard::check_bytes;
use crate::vector::without_rest;

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

/// A list of texts for each row, or one for all rows.
pub(super) struct Tokens {
    lists: LargeListArray,
    texts: LargeStringArray,
    is_constant: bool,
}

impl Tokens {
    pub(super) fn try_new(argument: &ColumnarValue) -> Result<Self> {
        let Values { array, is_constant } = Values::try_new(argument)?;
        let item = Arc::new(Field::new_list_field(DataType::LargeUtf8, true));
        let lists = strictly(&without_rest(&array)?, &DataType::LargeList(item))?;
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
    let hint = "; SET datafusion.execution.batch_size to fewer rows";
    check_bytes(function, bytes as u128, hint)
}
