//! `inner_product(a, b)`: a·b.

use datafusion_expr::ScalarUDF;

use super::measure::{Measure, measure_function};
use super::products::{Number, dot};
use crate::doc::Doc;

pub(super) fn function() -> ScalarUDF {
    measure_function::<InnerProduct>()
}

struct InnerProduct;

impl Measure for InnerProduct {
    const DOC: &'static Doc = &Doc {
        name: "inner_product",
        syntax: "inner_product(a, b)",
        gives: "the sum of the products of two vectors' elements",
        example: "SELECT inner_product([1, 2], [3, 4])",
    };
    const ALIASES: &'static [&'static str] = &["dot_product", "array_inner_product"];

    fn of((left, _): (&[impl Number], f64), (right, _): (&[impl Number], f64)) -> Option<f64> {
        Some(dot(left, right))
    }
}
