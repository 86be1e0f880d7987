//! The columns of system tables, from iterators over their values.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, StringArray, StringBuilder,
    TimestampMillisecondArray,
};

pub(super) fn strings<T: Into<Option<String>>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter(values.map(Into::into)))
}

pub(super) fn integers<T: Into<Option<u64>>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(Int64Array::from_iter(
        values.map(|value| value.into().map(|value: u64| value as i64)),
    ))
}

pub(super) fn numbers(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from_iter(values))
}

pub(super) fn booleans(values: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(BooleanArray::from_iter(values.map(Some)))
}

pub(super) fn times<T: Into<Option<chrono::DateTime<chrono::Utc>>>>(
    values: impl Iterator<Item = T>,
) -> ArrayRef {
    let milliseconds = values.map(|time| time.into().map(|time| time.timestamp_millis()));
    Arc::new(TimestampMillisecondArray::from_iter(milliseconds).with_timezone("UTC"))
}

pub(super) fn lists<T: Into<Option<Vec<String>>>>(values: impl Iterator<Item = T>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for list in values {
        let list: Option<Vec<String>> = list.into();
        builder.append_option(list.map(|list| list.into_iter().map(Some)));
    }
    Arc::new(builder.finish())
}
