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
pub fn tree_sum<T: Copy + std::ops::Add<Output = T>>(shards: &[&[T]]) -> Vec<T> {
    let add = |left: &[T], right: &[T]| {
        let pairs = left.iter().zip(right);
        pairs.map(|(&left, &right)| left + right).collect()
    };
    match shards {
        [] => Vec::new(),
        [only] => only.to_vec(),
        [left, right] => add(left, right),
        _ => {
            // The largest power of two below the length: that is where pairing up neighbours comes to in the end.
            let (left, right) = shards.split_at(shards.len().next_power_of_two() / 2);
            add(&tree_sum(left), &tree_sum(right))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_sum_adds_every_shard_once() {
        for count in 1..=9usize {
            let shards: Vec<Vec<u64>> = (0..count)
                .map(|shard| vec![1u64 << shard, shard as u64])
                .collect();
            let shards: Vec<&[u64]> = shards.iter().map(Vec::as_slice).collect();
            let expected = vec![(1u64 << count) - 1, (0..count as u64).sum()];
            assert_eq!(tree_sum(&shards), expected, "{count} shards");
        }
    }

    #[test]
    fn tree_sum_pairs_up_neighbours() {
        // Each term is lost in a sum with 1e8 but not in one with its like.
        let shards: Vec<[f32; 1]> = [[3.0], [3.0], [1e8], [0.0], [3.0], [3.0]].into();
        let shards: Vec<&[f32]> = shards.iter().map(|shard| &shard[..]).collect();
        let expected = (((3.0f32 + 3.0) + (1e8 + 0.0)) + (3.0 + 3.0)).to_bits();
        assert_eq!(tree_sum(&shards)[0].to_bits(), expected);
    }

    #[test]
    fn the_split_keeps_its_fraction() {
        let eval = (0..10_000u128)
            .filter(|&row| Placement::new(row, 7).is_eval(0.2))
            .count();
        assert!((1_850..2_150).contains(&eval), "{eval} of 10000 rows");
    }
}
