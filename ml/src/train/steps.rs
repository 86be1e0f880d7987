//! [`Steps`]: the rows that each step of an epoch takes: exactly `batch_size` rows per step, evenly from all shards.
//!
//! The rows of all shards have one common order: row `i` of a shard of `n` rows is at `(i + 1/2) / n`. A step takes the
//! next `batch_size` rows. So a shard's share of each step is its share of the rows, even if a step has fewer rows than
//! there are shards, and every rank computes the steps from the numbers of rows alone.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

/// The steps of an epoch: the range of rows of each shard, in the order that the epoch gives the shard's rows.
pub(crate) struct Steps {
    rows: Vec<u64>,
    /// The number of rows taken from each shard so far.
    taken: Vec<usize>,
    next: BinaryHeap<Next>,
    batch_size: usize,
}

/// The next row of a shard.
struct Next {
    at: f64,
    shard: usize,
}

impl Ord for Next {
    /// The first row is the greatest, because a `BinaryHeap` pops the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        let at = other.at.total_cmp(&self.at);
        at.then(other.shard.cmp(&self.shard))
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Next {}

impl Steps {
    /// The steps over shards with these numbers of rows.
    pub(crate) fn new(rows: &[u64], batch_size: usize) -> Self {
        let mut steps = Self {
            rows: rows.to_vec(),
            taken: vec![0; rows.len()],
            next: BinaryHeap::with_capacity(rows.len()),
            batch_size,
        };
        (0..rows.len()).for_each(|shard| steps.queue(shard));
        steps
    }

    /// The number of steps.
    pub(crate) fn count(rows: u64, batch_size: usize) -> usize {
        (rows as usize).div_ceil(batch_size)
    }

    fn queue(&mut self, shard: usize) {
        let (row, rows) = (self.taken[shard] as u64, self.rows[shard]);
        if row < rows {
            let at = (row as f64 + 0.5) / rows as f64;
            self.next.push(Next { at, shard });
        }
    }
}

impl Iterator for Steps {
    type Item = Vec<Range<usize>>;

    fn next(&mut self) -> Option<Self::Item> {
        let before = self.taken.clone();
        for _ in 0..self.batch_size {
            let Some(Next { shard, .. }) = self.next.pop() else {
                break;
            };
            self.taken[shard] += 1;
            self.queue(shard);
        }
        let ranges = before.iter().zip(&self.taken);
        let ranges: Vec<Range<usize>> = ranges.map(|(&from, &to)| from..to).collect();
        ranges
            .iter()
            .any(|range| !range.is_empty())
            .then_some(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_its_rows_and_every_row_its_step() {
        for rows in [
            vec![7, 0, 3],
            vec![10; 8],
            vec![1, 1_000],
            vec![0, 1],
            vec![33],
        ] {
            for batch_size in [1, 2, 3, 8, 64, 5_000] {
                let total: u64 = rows.iter().sum();
                let steps: Vec<_> = Steps::new(&rows, batch_size).collect();
                assert_eq!(steps.len(), Steps::count(total, batch_size));
                let sizes = steps
                    .iter()
                    .map(|ranges| ranges.iter().map(ExactSizeIterator::len).sum::<usize>());
                let sizes: Vec<usize> = sizes.collect();
                let (last, full) = sizes.split_last().unwrap();
                assert!(full.iter().all(|size| *size == batch_size) && *last <= batch_size);
                for shard in 0..rows.len() {
                    let mut next = 0;
                    for ranges in &steps {
                        assert_eq!(ranges[shard].start, next);
                        next = ranges[shard].end;
                    }
                    assert_eq!(next as u64, rows[shard]);
                }
            }
        }
    }

    #[test]
    fn a_shard_has_its_share_of_each_step() {
        let rows = [100u64, 300, 600];
        for ranges in Steps::new(&rows, 50) {
            let sizes: Vec<usize> = ranges.iter().map(ExactSizeIterator::len).collect();
            for (size, share) in sizes.iter().zip([5, 15, 30]) {
                assert!(size.abs_diff(share) <= 1, "{sizes:?}");
            }
        }
        // With fewer rows than shards, the shards take turns.
        let turns = Steps::new(&[10; 4], 1).map(|ranges| ranges.iter().position(|r| !r.is_empty()));
        let turns: Vec<usize> = turns.flatten().take(8).collect();
        assert_eq!(turns, [0, 1, 2, 3, 0, 1, 2, 3]);
    }
}
