//! `l2_distance(a, b)`: |a - b|.

use datafusion_expr::ScalarUDF;

use super::measure::{Measure, measure_function};
use super::products::{Number, distance};
use crate::doc::Doc;

pub(super) fn function() -> ScalarUDF {
    measure_function::<L2Distance>()
}

struct L2Distance;

impl Measure for L2Distance {
    const DOC: &'static Doc = &Doc {
        name: "l2_distance",
        syntax: "l2_distance(a, b)",
        gives: "the Euclidean distance of two vectors",
        example: "SELECT l2_distance([0, 0], [3, 4])",
    };
    const ALIASES: &'static [&'static str] = &[];

    fn of((left, _): (&[impl Number], f64), (right, _): (&[impl Number], f64)) -> Option<f64> {
        Some(distance(left, right))
    }
}
