//! [`Ratings`]: the rows of all ranks; [`Block`]: those of some users or items, in an order that depends on nothing else.

use std::ops::Range;
use std::sync::Arc;

use crate::Result;
use crate::data::rows::Rows;
use crate::train::als::table::pairs;
use crate::train::prepare::Shard;
use crate::train::training::Training;

/// The bytes of a row in a message: the ids of both columns, and the label in f32.
const ROW_BYTES: usize = 12;

/// A row: the ids of both columns, and the label.
pub(super) type Rating = ([u32; 2], f32);

/// The rows of all ranks, as the ranks sent them.
pub(super) struct Ratings(Vec<Arc<Vec<u8>>>);

impl Ratings {
    /// Gathers one side of the split of all ranks.
    pub(super) fn gather(training: &Training<'_>, side: impl Fn(&Shard) -> &Rows) -> Result<Self> {
        let shards = &training.prepared.shards;
        let rows = shards.iter().map(|shard| side(shard).len()).sum::<usize>();
        let mut message = Vec::with_capacity(rows * ROW_BYTES);
        for shard in shards {
            for ([first, second], label) in pairs(side(shard))? {
                message.extend(first.to_le_bytes());
                message.extend(second.to_le_bytes());
                message.extend((label as f32).to_le_bytes());
            }
        }
        Ok(Self(training.collective.all_gather(message)?))
    }

    /// No rows.
    pub(super) fn none() -> Self {
        Self(vec![])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Rating> {
        let messages = self.0.iter();
        messages.flat_map(|message| message.as_chunks::<ROW_BYTES>().0.iter().map(read))
    }
}

fn read(bytes: &[u8; ROW_BYTES]) -> Rating {
    let (numbers, _) = bytes.as_chunks::<4>();
    let id = |at: usize| u32::from_le_bytes(numbers[at]);
    ([id(0), id(1)], f32::from_le_bytes(numbers[2]))
}

/// The ratings of a range of ids of one column: for each, the ids of the other column and the labels.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Block {
    pub(super) ids: Range<usize>,
    /// Where the ratings of each id begin; one more at the end.
    starts: Vec<usize>,
    others: Vec<u32>,
    labels: Vec<f32>,
}

impl Block {
    /// The ratings of these ids of the first or second column, sorted by the other id and the label. With `joins`, several ratings of
    /// one pair become one with the sum of their labels.
    pub(super) fn of(ratings: &Ratings, is_first: bool, ids: Range<usize>, joins: bool) -> Self {
        let own = |pair: [u32; 2]| {
            let (own, other) = if is_first {
                (pair[0], pair[1])
            } else {
                (pair[1], pair[0])
            };
            (own as usize, other)
        };
        let mut next = vec![0; ids.len() + 1];
        for (pair, _) in ratings.iter() {
            let (id, _) = own(pair);
            if ids.contains(&id) {
                next[id - ids.start + 1] += 1;
            }
        }
        (1..next.len()).for_each(|at| next[at] += next[at - 1]);
        let mut found: Vec<(u32, f32)> = vec![(0, 0.0); next.last().copied().unwrap_or(0)];
        let ends = next.clone();
        for (pair, label) in ratings.iter() {
            let (id, other) = own(pair);
            if ids.contains(&id) {
                let place = &mut next[id - ids.start];
                found[*place] = (other, label);
                *place += 1;
            }
        }
        let mut block = Self {
            starts: Vec::with_capacity(ends.len()),
            others: Vec::with_capacity(found.len()),
            labels: Vec::with_capacity(found.len()),
            ids,
        };
        for range in ends.windows(2) {
            block.starts.push(block.others.len());
            let of_id = &mut found[range[0]..range[1]];
            of_id.sort_unstable_by_key(|(other, label)| (*other, label.to_bits()));
            for (other, label) in of_id.iter() {
                let is_again = block.others.len() > block.starts[block.starts.len() - 1]
                    && block.others.last() == Some(other);
                match block.labels.last_mut() {
                    Some(sum) if joins && is_again => *sum += label,
                    _ => {
                        block.others.push(*other);
                        block.labels.push(*label);
                    }
                }
            }
        }
        block.starts.push(block.others.len());
        block
    }

    /// The other ids and the labels of an id of the block.
    pub(super) fn of_id(&self, id: usize) -> (&[u32], &[f32]) {
        let at = id - self.ids.start;
        let range = self.starts[at]..self.starts[at + 1];
        (&self.others[range.clone()], &self.labels[range])
    }
}

/// Divides ids among ranks so that each has about as many ratings; `counts` holds the number of ratings of each id.
pub(super) fn shares(ids: Range<usize>, counts: &[u32], ranks: usize) -> Vec<Range<usize>> {
    // An id takes some time even without ratings.
    let cost = |id: usize| u64::from(counts[id]) + 1;
    let total: u64 = ids.clone().map(cost).sum();
    let mut shares = Vec::with_capacity(ranks);
    let (mut start, mut sum, mut id) = (ids.start, 0, ids.start);
    for rank in 1..=ranks as u64 {
        let until = total * rank / ranks as u64;
        while id < ids.end && sum < until {
            sum += cost(id);
            id += 1;
        }
        shares.push(start..id);
        start = id;
    }
    shares
}

/// The number of ratings of each id.
pub(super) fn counts(ratings: &Ratings, ids: usize) -> Vec<u32> {
    let mut counts = vec![0; ids];
    for (pair, _) in ratings.iter() {
        pair.into_iter().for_each(|id| counts[id as usize] += 1);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratings(rows: &[Rating]) -> Ratings {
        let bytes = rows.iter().flat_map(|([first, second], label)| {
            let ids = [first.to_le_bytes(), second.to_le_bytes()];
            [ids[0], ids[1], label.to_le_bytes()].concat()
        });
        Ratings(vec![Arc::new(bytes.collect())])
    }

    #[test]
    fn a_block_does_not_depend_on_the_order_of_the_rows() {
        let mut rows = vec![
            ([2, 7], 5.0),
            ([1, 6], 1.0),
            ([2, 6], 2.0),
            ([2, 7], 3.0),
            ([1, 6], 1.0),
        ];
        let block = Block::of(&ratings(&rows), true, 1..4, false);
        assert_eq!(block.of_id(1), (&[6, 6][..], &[1.0, 1.0][..]));
        assert_eq!(block.of_id(2), (&[6, 7, 7][..], &[2.0, 3.0, 5.0][..]));
        assert_eq!(block.of_id(3), (&[][..], &[][..]));
        rows.reverse();
        assert_eq!(Block::of(&ratings(&rows), true, 1..4, false), block);
        let joined = Block::of(&ratings(&rows), true, 1..4, true);
        assert_eq!(joined.of_id(1), (&[6][..], &[2.0][..]));
        assert_eq!(joined.of_id(2), (&[6, 7][..], &[2.0, 8.0][..]));
        let items = Block::of(&ratings(&rows), false, 7..8, false);
        assert_eq!(items.of_id(7), (&[2, 2][..], &[3.0, 5.0][..]));
    }

    #[test]
    fn ids_are_shared_by_the_number_of_their_ratings() {
        let counts = [9, 0, 90, 5, 5, 0, 80, 1];
        for ranks in [1, 2, 3, 8, 20] {
            let shares = shares(1..8, &counts, ranks);
            assert_eq!(shares.len(), ranks);
            let mut next = 1;
            for share in &shares {
                assert_eq!(share.start, next);
                next = share.end;
            }
            assert_eq!(next, 8, "{ranks} ranks");
        }
        assert_eq!(shares(1..8, &counts, 2), [1..4, 4..8]);
        assert_eq!(shares(3..3, &counts, 2), [3..3, 3..3]);
    }
}
