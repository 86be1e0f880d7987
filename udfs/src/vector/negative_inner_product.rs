//! `negative_inner_product(a, b)`: -(a·b).

use datafusion_expr::ScalarUDF;

use super::measure::{Measure, measure_function};
use super::products::{Number, dot};
use crate::doc::Doc;

pub(super) fn function() -> ScalarUDF {
    measure_function::<NegativeInnerProduct>()
}

struct NegativeInnerProduct;

impl Measure for NegativeInnerProduct {
    const DOC: &'static Doc = &Doc {
        name: "negative_inner_product",
        syntax: "negative_inner_product(a, b)",
        gives: "the negative sum of the products of two vectors' elements, by which ORDER BY puts the largest inner product first",
        example: "SELECT negative_inner_product([1, 2], [3, 4])",
    };
    const ALIASES: &'static [&'static str] = &["array_negative_inner_product"];

    fn of((left, _): (&[impl Number], f64), (right, _): (&[impl Number], f64)) -> Option<f64> {
        // Not -dot, which of 0 is -0.
        Some(0.0 - dot(left, right))
    }
}
