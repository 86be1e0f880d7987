//! `cosine_similarity(a, b)`: a·b / (|a| |b|).

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder};
use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_expr::ScalarUDF;

use super::udf::vector_function;
use super::vectors::{Vectors, pair};
use crate::doc::Doc;

const DOC: Doc = Doc {
    name: "cosine_similarity",
    syntax: "cosine_similarity(a, b)",
    gives: "the cosine of the angle between two vectors, from -1 to 1; NULL if one is all zeros",
    example: "SELECT cosine_similarity([1, 0], [1, 1])",
};

pub(super) fn function() -> ScalarUDF {
    vector_function(&DOC, DataType::Float64, compute)
}

fn compute([left, right]: &[Vectors; 2], rows: usize) -> Result<ArrayRef> {
    let mut cosines = Float64Builder::with_capacity(rows);
    for row in 0..rows {
        let pair = pair(DOC.name, left, right, row)?;
        cosines.append_option(pair.and_then(|(left, right)| cosine(left, right)));
    }
    Ok(Arc::new(cosines.finish()))
}

fn cosine(left: &[f64], right: &[f64]) -> Option<f64> {
    let (mut product, mut left_square, mut right_square) = (0.0, 0.0, 0.0);
    for (left, right) in left.iter().zip(right) {
        product += left * right;
        left_square += left * left;
        right_square += right * right;
    }
    // Roots before the product: of two long vectors the product of squares could overflow.
    let lengths = f64::sqrt(left_square) * f64::sqrt(right_square);
    (lengths != 0.0).then(|| (product / lengths).clamp(-1.0, 1.0))
}
