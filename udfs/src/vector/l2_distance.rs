//! `l2_distance(a, b)`: |a - b|.

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
    name: "l2_distance",
    syntax: "l2_distance(a, b)",
    gives: "the Euclidean distance of two vectors",
    example: "SELECT l2_distance([0, 0], [3, 4])",
};

pub(super) fn function() -> ScalarUDF {
    vector_function(&DOC, DataType::Float64, compute)
}

fn compute([left, right]: &[Vectors; 2], rows: usize) -> Result<ArrayRef> {
    let mut distances = Float64Builder::with_capacity(rows);
    for row in 0..rows {
        let pair = pair(DOC.name, left, right, row)?;
        distances.append_option(
            pair.map(|(left, right)| length(left.iter().zip(right).map(|(l, r)| l - r))),
        );
    }
    Ok(Arc::new(distances.finish()))
}
