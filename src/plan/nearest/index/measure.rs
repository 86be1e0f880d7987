//! How graphs measure distances: numbers with the order of the metric's distances, which are quicker to compute.

use std::borrow::Cow;

use vatic_udfs::vector::products::{distance, dot};

use super::super::spec::Metric;

/// A vector as graphs keep it, with length 1 for the cosine; `None` for a vector that has no place in a graph: one with a number
/// that is not finite, or without a direction for the cosine.
pub(super) fn prepared(metric: Metric, vector: &[f32]) -> Option<Cow<'_, [f32]>> {
    if !vector.iter().all(|number| number.is_finite()) {
        return None;
    }
    match metric {
        Metric::L2 | Metric::InnerProduct => Some(Cow::Borrowed(vector)),
        Metric::Cosine => {
            let length = dot(vector, vector).sqrt();
            let scaled = |number: &f32| (f64::from(*number) / length) as f32;
            (length > 0.0).then(|| Cow::Owned(vector.iter().map(scaled).collect()))
        }
    }
}

/// A number that is smaller for nearer vectors, both prepared.
pub(super) fn measured(metric: Metric, left: &[f32], right: &[f32]) -> f64 {
    match metric {
        Metric::L2 => distance(left, right),
        Metric::Cosine | Metric::InnerProduct => -dot(left, right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_have_the_order_of_distances() {
        let vectors: Vec<Vec<f32>> = (0..40u16)
            .map(|at| {
                let at = f32::from(at);
                vec![(at * 1.3).sin() * at, (at * 0.7).cos(), 0.5 - at * 0.01]
            })
            .collect();
        for metric in Metric::ALL {
            let query = &vectors[7];
            let prepared_query = prepared(metric, query).unwrap();
            let mut by_measure: Vec<usize> = (0..vectors.len()).collect();
            let mut by_distance = by_measure.clone();
            let measure = |at: &usize| {
                let vector = prepared(metric, &vectors[*at]).unwrap();
                measured(metric, &prepared_query, &vector)
            };
            by_measure.sort_by(|left, right| measure(left).total_cmp(&measure(right)));
            let distance = |at: &usize| metric.distance(query, &vectors[*at]).unwrap();
            by_distance.sort_by(|left, right| distance(left).total_cmp(&distance(right)));
            assert_eq!(by_measure, by_distance, "{metric:?}");
        }
    }

    #[test]
    fn vectors_without_a_place_are_told() {
        assert!(prepared(Metric::L2, &[1.0, f32::NAN]).is_none());
        assert!(prepared(Metric::InnerProduct, &[f32::INFINITY]).is_none());
        assert!(prepared(Metric::Cosine, &[0.0, 0.0]).is_none());
        assert!(prepared(Metric::L2, &[0.0, 0.0]).is_some());
        let unit = prepared(Metric::Cosine, &[3.0, 4.0]).unwrap();
        assert_eq!(*unit, [0.6, 0.8]);
    }
}
