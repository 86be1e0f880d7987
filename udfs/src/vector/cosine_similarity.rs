//! `cosine_similarity(a, b)`: a·b / (|a| |b|).

use datafusion_expr::ScalarUDF;

use super::measure::{Measure, measure_function};
use super::products::{Number, cosine};
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

    fn of(left: &[impl Number], right: &[impl Number]) -> Option<f64> {
        cosine(left, right)
    }
}
