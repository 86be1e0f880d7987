//! Seeded random numbers: one independent stream for each purpose.
//!
//! candle cannot seed its CPU generator, so everything random (initial weights, dropout, the order of rows) is drawn
//! here. A stream is ChaCha8 keyed by the SHA-256 of its purpose, so no stream depends on draws elsewhere.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// The stream for `purpose`, further distinguished by `counters` (epoch, shard, layer …).
pub fn stream(seed: u64, purpose: &str, counters: &[u64]) -> ChaCha8Rng {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update(purpose.as_bytes());
    for counter in counters {
        hasher.update(counter.to_le_bytes());
    }
    ChaCha8Rng::from_seed(hasher.finalize().into())
}

/// Normal numbers with mean 0 and variance 1: Box and Muller, 1958.
pub fn normal(count: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(count + 1);
    while numbers.len() < count {
        // The generator includes 0 and excludes 1, so the logarithm is finite.
        let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * random.random::<f64>();
        numbers.extend([angle.cos(), angle.sin()].map(|side| (radius * side) as f32));
    }
    numbers.truncate(count);
    numbers
}

/// A permutation of `0..rows`.
pub fn permutation(rows: usize, random: &mut ChaCha8Rng) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.shuffle(random);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let numbers = normal(20_001, &mut stream(1, "normal", &[]));
        assert_eq!(numbers.len(), 20_001);
        let mean = |of: fn(f64) -> f64| {
            let values = numbers.iter().map(|&number| of(f64::from(number)));
            values.sum::<f64>() / numbers.len() as f64
        };
        assert!(mean(|x| x).abs() < 0.03);
        assert!((mean(|x| x * x) - 1.0).abs() < 0.05);
        assert!((mean(|x| x.powi(4)) - 3.0).abs() < 0.3);
        assert_eq!(normal(3, &mut stream(1, "normal", &[])), numbers[..3]);
    }

    #[test]
    fn streams_differ_by_each_part_of_their_key() {
        let draw =
            |seed, purpose, counters: &[u64]| permutation(50, &mut stream(seed, purpose, counters));
        assert_eq!(draw(1, "a", &[2]), draw(1, "a", &[2]));
        assert_ne!(draw(1, "a", &[2]), draw(2, "a", &[2]));
        assert_ne!(draw(1, "a", &[2]), draw(1, "b", &[2]));
        assert_ne!(draw(1, "a", &[2]), draw(1, "a", &[3]));
    }
}
