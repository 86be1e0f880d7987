//! `argmax(vector)`: the position of the largest element.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Builder};
use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, ScalarUDF};

use super::udf::vector_function;
use super::vectors::Vectors;
use crate::doc::Doc;

const DOC: Doc = Doc {
    name: "argmax",
    syntax: "argmax(vector)",
    gives: "the position of the largest element, from 1, the first of equals; NULL of an empty vector",
    example: "SELECT argmax([0.1, 0.7, 0.2])",
};

pub(super) fn function() -> ScalarUDF {
    vector_function(&DOC, DataType::Int64, compute)
}

fn compute([vectors]: &[ColumnarValue; 1], rows: usize) -> Result<ArrayRef> {
    let vectors = Vectors::of_argument(vectors)?;
    let mut positions = Int64Builder::with_capacity(rows);
    for row in 0..rows {
        positions.append_option(vectors.row(row).and_then(argmax));
    }
    Ok(Arc::new(positions.finish()))
}

/// NaN counts as the largest, as in ORDER BY.
fn argmax(vector: &[f64]) -> Option<i64> {
    let elements = vector.iter().enumerate().rev();
    let (position, _) = elements.max_by(|(_, left), (_, right)| order(**left, **right))?;
    Some(position as i64 + 1)
}

/// The order of numbers in which 0 equals -0 and NaN is the largest.
pub(super) fn order(left: f64, right: f64) -> std::cmp::Ordering {
    left.partial_cmp(&right)
        .unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}
