//! `cosine_similarity(a, b)`: a·b / (|a| |b|).

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder};
use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_expr::ScalarUDF;

use super::length::length;
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
    let of_left = length(left.iter().copied());
    let of_right = length(right.iter().copied());
    if of_left == 0.0 || of_right == 0.0 {
        return None;
    }
    // Divided first: the product of two long vectors could overflow.
    let pairs = left.iter().zip(right);
    let cosine: f64 = pairs.map(|(l, r)| (l / of_left) * (r / of_right)).sum();
    Some(cosine.clamp(-1.0, 1.0))
}
