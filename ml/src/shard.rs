//! Virtual shards: which rows train together, whatever the number of workers.
//!
//! A row belongs to one of V shards by a hash of its content and the seed. Ranks own whole shards, and everything that
//! is summed is summed over shards in a fixed tree, so the number of ranks cannot show in the result.

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The number of shards unless the user asks for another. It shows in the result, so it must not follow from the
/// number of workers or cores; more workers than shards would have nothing to do.
pub const SHARDS_DEFAULT: usize = 8;

/// Where a row goes: a seeded hash of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placement(u128);

impl Placement {
    /// The placement of the row with this content hash.
    pub fn new(content_hash: u128, seed: u64) -> Self {
        Self(xxh3_128_with_seed(&content_hash.to_le_bytes(), seed))
    }

    /// The shard of the row, in `0..shards`.
    pub fn shard(self, shards: usize) -> usize {
        (self.0 as u64 % shards as u64) as usize
    }

    /// Whether the row is among the `fraction` kept for evaluation.
    pub fn is_eval(self, fraction: f64) -> bool {
        // 53 bits: every such integer is exact in f64.
        let uniform = (self.0 >> 75) as f64 / (1u64 << 53) as f64;
        uniform < fraction
    }
}

/// Sums buffers of equal length pairwise: (0+1)+(2+3) …, the same tree for every number of ranks.
pub fn tree_sum<T: Copy + std::ops::AddAssign>(mut shards: Vec<Vec<T>>) -> Vec<T> {
    let mut stride = 1;
    while stride < shards.len() {
        for left in (0..shards.len() - stride).step_by(2 * stride) {
            let (head, tail) = shards.split_at_mut(left + stride);
            for (sum, &term) in head[left].iter_mut().zip(&tail[0]) {
                *sum += term;
            }
        }
        stride *= 2;
    }
    shards.into_iter().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_sum_adds_every_shard_once() {
        for count in 1..=9usize {
            let shards = (0..count)
                .map(|shard| vec![1u64 << shard, shard as u64])
                .collect();
            let expected = vec![(1u64 << count) - 1, (0..count as u64).sum()];
            assert_eq!(tree_sum(shards), expected, "{count} shards");
        }
    }

    #[test]
    fn the_split_keeps_its_fraction() {
        let eval = (0..10_000u128)
            .filter(|&row| Placement::new(row, 7).is_eval(0.2))
            .count();
        assert!((1_850..2_150).contains(&eval), "{eval} of 10000 rows");
    }
}
