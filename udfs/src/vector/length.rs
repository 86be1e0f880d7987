//! The Euclidean length of a vector, also where squares would overflow or underflow.

/// √(Σ x²).
pub(super) fn length(vector: impl Iterator<Item = f64> + Clone) -> f64 {
    let square: f64 = vector.clone().map(|x| x * x).sum();
    // Squares of numbers around 1e±150 and beyond overflow or underflow.
    if (1e-280..1e280).contains(&square) || square.is_nan() {
        return square.sqrt();
    }
    let max = vector.clone().fold(0.0, |max: f64, x| max.max(x.abs()));
    if max == 0.0 || max.is_infinite() {
        return max;
    }
    max * vector.map(|x| (x / max) * (x / max)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_large_nor_small_numbers_are_lost() {
        for (vector, expected) in [
            ([3.0, 4.0], 5.0),
            ([3e200, 4e200], 5e200),
            ([3e-200, 4e-200], 5e-200),
            ([0.0, 0.0], 0.0),
        ] {
            let found = length(vector.into_iter());
            assert!(
                (found - expected).abs() <= expected * 1e-15,
                "{vector:?}: {found}"
            );
        }
        assert!(length([1.0, f64::NAN].into_iter()).is_nan());
    }
}
