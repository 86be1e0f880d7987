//! The texts of a batch, for models that take one column of them: [`each_text`] reads them, [`apart`] takes out what failed, and
//! [`padded`] makes rows of one length of their tokens.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use candle_core::Tensor;

use crate::data::coerce::{Failures, coerced};
use crate::device::HOST;
use crate::{Result, stop};

/// What is read of a row: `None` of NULL, or the cause why nothing is.
pub(super) type Row<T> = Result<Option<T>, String>;

/// What `read` makes of the text in each row of the first column.
///
/// # Errors
/// [`Error::Type`](crate::Error::Type) for a column of another type; [`Error::Cancelled`](crate::Error::Cancelled).
pub(super) fn each_text<T>(
    batch: &RecordBatch,
    mut read: impl FnMut(&str) -> Result<T, String>,
) -> Result<Vec<Row<T>>> {
    let name = batch.schema_ref().field(0).name();
    let (texts, _) = coerced(name, batch.column(0), &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let mut rows = Vec::with_capacity(texts.len());
    for row in 0..texts.len() {
        stop::check()?;
        let text = texts.is_valid(row).then(|| texts.value(row));
        rows.push(text.map(&mut read).transpose());
    }
    Ok(rows)
}

/// The rows with `None` for those that failed, and the failures: `failed`, then the cause.
pub(super) fn apart<T>(rows: Vec<Row<T>>, failed: &str) -> (Vec<Option<T>>, Failures) {
    let mut failures = vec![];
    let rows = rows.into_iter().enumerate().map(|(row, read)| {
        read.unwrap_or_else(|cause| {
            failures.push((row, format!("{failed}: {cause}")));
            None
        })
    });
    let rows: Vec<Option<T>> = rows.collect();
    (rows, failures)
}

/// Rows of tokens as `[rows, longest]`, filled up with 0, and their lengths `[rows]`.
pub(super) fn padded(rows: &[Vec<u32>]) -> Result<[Tensor; 2]> {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let lengths: Vec<u32> = rows.iter().map(|row| row.len() as u32).collect();
    let mut tokens = Vec::with_capacity(rows.len() * longest);
    for row in rows {
        tokens.extend_from_slice(row);
        tokens.resize(tokens.len() + longest - row.len(), 0);
    }
    Ok([
        Tensor::from_vec(tokens, (rows.len(), longest), &HOST)?,
        Tensor::from_vec(lengths, rows.len(), &HOST)?,
    ])
}
