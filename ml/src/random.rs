//! Seeded random numbers: one independent stream for each purpose.
//!
//! candle cannot seed its CPU generator, so everything random (initial weights, dropout, the order of rows) is drawn
//! here. A stream is ChaCha8 keyed by the SHA-256 of its purpose, so no stream depends on draws elsewhere.

use rand::SeedableRng;
use rand::seq::SliceRandom;
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
    fn streams_differ_by_each_part_of_their_key() {
        let draw =
            |seed, purpose, counters: &[u64]| permutation(50, &mut stream(seed, purpose, counters));
        assert_eq!(draw(1, "a", &[2]), draw(1, "a", &[2]));
        assert_ne!(draw(1, "a", &[2]), draw(2, "a", &[2]));
        assert_ne!(draw(1, "a", &[2]), draw(1, "b", &[2]));
        assert_ne!(draw(1, "a", &[2]), draw(1, "a", &[3]));
    }
}
