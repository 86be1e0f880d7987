//! The moving average of the weights over the steps of a descent.
//!
//! The average moves more calmly than the weights (Polyak and Juditsky, "Acceleration of stochastic approximation by averaging",
//! 1992), so a constant learning rate ends as near to the minimum as one that falls.

/// The fraction of the old average that stays after a step, when `taken` steps came before it. It is `decay`, but less in the first
/// steps: the random weights that a descent starts from are soon forgotten. The rule is that of TensorFlow's
/// `ExponentialMovingAverage`.
pub(crate) fn kept(decay: f64, taken: usize) -> f32 {
    let taken = taken as f64;
    decay.min((1.0 + taken) / (10.0 + taken)) as f32
}

/// Moves the average towards the weights.
pub(crate) fn follow(average: &mut [f32], weights: &[f32], kept: f32) {
    for (average, weight) in average.iter_mut().zip(weights) {
        // Weights that stay are their average, to the bit.
        *average += (1.0 - kept) * (weight - *average);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_forgets_where_it_began_and_then_lags_behind() {
        let mut average = [100.0f32, -100.0];
        for taken in 0..50 {
            follow(&mut average, &[1.0, 2.0], kept(0.9, taken));
        }
        assert!((average[0] - 1.0).abs() < 1e-3, "{average:?}");
        assert!((average[1] - 2.0).abs() < 1e-3, "{average:?}");
        assert_eq!(kept(0.9, 0), 0.1);
        assert_eq!(kept(0.9, 1_000), 0.9);
        follow(&mut average, &[11.0, 2.0], kept(0.9, 1_000));
        assert!((average[0] - 2.0).abs() < 1e-3, "{average:?}");
        let weights = [0.1f32, -0.7];
        average = weights;
        follow(&mut average, &weights, kept(0.98, 77));
        assert_eq!(average, weights);
    }
}
