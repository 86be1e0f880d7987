//! `cosine_similarity(a, b)`: a·b / (|a| |b|).

use datafusion_expr::ScalarUDF;

use super::measure::{Measure, measure_function};
use super::products::{Number, cosine_of_squares, dot};
use crate::doc::Doc;

pub(super) fn function() -> ScalarUDF {
    measure_function::<CosineSimilarity>()
}

struct CosineSimilarity;

impl Measure for CosineSimilarity {
    const DOC: &'static Doc = &Doc {
        name: "cosine_similarity",
        syntax: "cosine_similarity(a, b)",
        gives: "the cosine of the angle between two vectors, from -1 to 1; NULL if one is all zeros",
        example: "SELECT cosine_similarity([1, 0], [1, 1])",
    };
    const ALIASES: &'static [&'static str] = &["array_cosine_similarity"];

    fn square(vector: &[impl Number]) -> f64 {
        dot(vector, vector)
    }

    fn of(left: (&[impl Number], f64), right: (&[impl Number], f64)) -> Option<f64> {
        cosine_of_squares(left, right)
    }
}
