//! `softmax(vector)`: exp(x) / Σ exp(x).

use arrow::array::ArrayRef;
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, ScalarUDF};

use super::udf::vector_function;
use super::vectors::{Vectors, VectorsBuilder, vector_type};
use crate::doc::Doc;

const DOC: Doc = Doc {
    name: "softmax",
    syntax: "softmax(vector)",
    gives: "probabilities in proportion to the exponentials of the elements",
    example: "SELECT softmax([1, 2, 3])",
};

pub(super) fn function() -> ScalarUDF {
    vector_function(&DOC, vector_type(), compute)
}

fn compute([vectors]: &[ColumnarValue; 1], rows: usize) -> Result<ArrayRef> {
    let vectors = Vectors::of_argument(vectors)?;
    let mut probabilities = VectorsBuilder::default();
    for row in 0..rows {
        probabilities.push(vectors.row(row).map(|vector| {
            // Subtract the largest element, so that no exponential overflows.
            let max = vector.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = vector.iter().map(|x| (x - max).exp()).sum();
            vector.iter().map(move |x| (x - max).exp() / sum)
        }));
    }
    probabilities.finish()
}
