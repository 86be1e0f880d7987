//! `cosine_distance(a, b)`: 1 - a·b / (|a| |b|).

use datafusion_expr::ScalarUDF;

use super::measure::{Measure, measure_function};
use super::products::{Number, cosine_of_squares, dot};
use crate::doc::Doc;

pub(super) fn function() -> ScalarUDF {
    measure_function::<CosineDistance>()
}

struct CosineDistance;

impl Measure for CosineDistance {
    const DOC: &'static Doc = &Doc {
        name: "cosine_distance",
        syntax: "cosine_distance(a, b)",
        gives: "1 - the cosine of the angle between two vectors, from 0 to 2; NULL if one is all zeros",
        example: "SELECT cosine_distance([1, 0], [0, 1])",
    };
    const ALIASES: &'static [&'static str] = &["array_cosine_distance"];

    fn square(vector: &[impl Number]) -> f64 {
        dot(vector, vector)
    }

    fn of(left: (&[impl Number], f64), right: (&[impl Number], f64)) -> Option<f64> {
        Some(1.0 - cosine_of_squares(left, right)?)
    }
}
