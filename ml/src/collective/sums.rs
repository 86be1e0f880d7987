//! Sums over shards in a fixed tree, whichever rank adds them.

use std::ops::{Add, Range};

/// Elements that are summed at once, so that sums of some shards stay in the cache.
const ELEMENTS_AT_ONCE: usize = 1 << 10;

/// Sums buffers of equal length pairwise: (0+1)+(2+3) …, the same tree for every number of ranks.
pub fn tree_sum<T: Copy + Add<Output = T>>(shards: &[&[T]]) -> Vec<T> {
    let length = shards.iter().map(|shard| shard.len()).min().unwrap_or(0);
    let mut sum = Vec::with_capacity(length);
    for start in (0..length).step_by(ELEMENTS_AT_ONCE) {
        let end = length.min(start + ELEMENTS_AT_ONCE);
        let parts: Vec<&[T]> = shards.iter().map(|shard| &shard[start..end]).collect();
        sum.extend(sum_of_parts(&parts));
    }
    sum
}

fn sum_of_parts<T: Copy + Add<Output = T>>(shards: &[&[T]]) -> Vec<T> {
    let add = |left: &[T], right: &[T]| {
        let pairs = left.iter().zip(right);
        pairs.map(|(&left, &right)| left + right).collect()
    };
    match shards {
        [] => Vec::new(),
        [only] => only.to_vec(),
        [left, right] => add(left, right),
        _ => {
            let (left, right) = branch(0..shards.len());
            add(&sum_of_parts(&shards[left]), &sum_of_parts(&shards[right]))
        }
    }
}

/// The two branches of at least two shards, whose sums [`tree_sum`] adds.
pub fn branch(shards: Range<usize>) -> (Range<usize>, Range<usize>) {
    // Repeated pairing of neighbours ends in a split at the largest power of two below the length.
    let middle = shards.start + shards.len().next_power_of_two() / 2;
    (shards.start..middle, middle..shards.end)
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
    fn a_long_buffer_is_summed_in_parts() {
        let buffer = |shard: u64| (0..2_500).map(move |n| n * shard).collect::<Vec<u64>>();
        let shards: Vec<Vec<u64>> = (1..=3).map(buffer).collect();
        let shards: Vec<&[u64]> = shards.iter().map(Vec::as_slice).collect();
        assert_eq!(tree_sum(&shards), buffer(6));
    }

    #[test]
    fn tree_sum_pairs_up_neighbours() {
        // A single 3.0 is lost when it is added to 1e8; the sum of two is not.
        let shards: Vec<[f32; 1]> = [[3.0], [3.0], [1e8], [0.0], [3.0], [3.0]].into();
        let shards: Vec<&[f32]> = shards.iter().map(|shard| &shard[..]).collect();
        let expected = (((3.0f32 + 3.0) + (1e8 + 0.0)) + (3.0 + 3.0)).to_bits();
        assert_eq!(tree_sum(&shards)[0].to_bits(), expected);
    }
}
