//! `l2_normalize(vector)`: the vector divided by its Euclidean length.

use arrow::array::ArrayRef;
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, ScalarUDF};

use super::length::length;
use super::udf::vector_function;
use super::vectors::{Vectors, VectorsBuilder, vector_type};
use crate::doc::Doc;

const DOC: Doc = Doc {
    name: "l2_normalize",
    syntax: "l2_normalize(vector)",
    gives: "the vector divided by its Euclidean length; zeros stay zeros",
    example: "SELECT l2_normalize([3, 4])",
};

pub(super) fn function() -> ScalarUDF {
    vector_function(&DOC, vector_type(), compute)
}

fn compute([vectors]: &[ColumnarValue; 1], rows: usize) -> Result<ArrayRef> {
    let vectors = Vectors::of_argument(vectors)?;
    let mut normalized = VectorsBuilder::default();
    for row in 0..rows {
        normalized.push(vectors.row(row).map(|vector| {
            let length = length(vector.iter().copied());
            let divisor = if length > 0.0 { length } else { 1.0 };
            vector.iter().map(move |x| x / divisor)
        }));
    }
    normalized.finish()
}
