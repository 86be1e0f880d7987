//! [`top_k`]: the items with the largest products of vectors, without the matrix of all users and items.
//!
//! ```text
//! items in blocks, transposed [width, ITEMS] ─ scores of a few users at once ─▶ the k best of each user so far
//! ```
//! Products are sums in one order, so neither the blocks nor the users beside a user change a bit.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::simd::simd_fn;
use crate::{Result, stop};

/// Items of a block: the scores of some users, and a number of each item, stay in the nearest cache.
const ITEMS: usize = 1_024;
/// Users that are scored at once: each number of an item is read once for all of them.
const USERS: usize = 4;

/// The vectors of items, in blocks that are read one number after the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ItemVectors {
    width: usize,
    count: usize,
    /// For each block, the first number of all its items, then the second; zeros behind the last item.
    blocks: Vec<f32>,
}

impl ItemVectors {
    /// From vectors of this width, row-major.
    pub fn new(width: usize, vectors: &[f32]) -> Self {
        let count = vectors.len() / width.max(1);
        let mut blocks = vec![0.0; count.div_ceil(ITEMS) * ITEMS * width];
        for (item, vector) in vectors.chunks_exact(width.max(1)).enumerate() {
            let block = &mut blocks[item / ITEMS * ITEMS * width..][..ITEMS * width];
            let places = block[item % ITEMS..].iter_mut().step_by(ITEMS);
            places
                .zip(vector)
                .for_each(|(place, number)| *place = *number);
        }
        Self {
            width,
            count,
            blocks,
        }
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Memory of as many vectors of this width, in bytes.
    pub fn bytes(width: usize, count: usize) -> usize {
        count.div_ceil(ITEMS) * ITEMS * width * size_of::<f32>()
    }
}

/// An item for a user.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// The position of the item.
    pub item: u32,
    /// The product of its vector with that of the user.
    pub product: f32,
}

impl Eq for Pick {}

impl Ord for Pick {
    /// The better pick is the greater; of equal products, that of the first item.
    fn cmp(&self, other: &Self) -> Ordering {
        let products = self.product.total_cmp(&other.product);
        products.then(other.item.cmp(&self.item))
    }
}

impl PartialOrd for Pick {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The `k` best items of each user, the best first: fewer if there are fewer. `users` holds the vectors of the users, row-major, and
/// `excluded` for each the positions of items to leave out, ascending. A product that is NaN is no pick.
///
/// # Errors
/// [`Error::Cancelled`](crate::Error::Cancelled).
pub fn top_k(
    users: &[f32],
    excluded: &[Vec<u32>],
    items: &ItemVectors,
    k: usize,
) -> Result<Vec<Vec<Pick>>> {
    let width = items.width.max(1);
    let mut picks = Vec::with_capacity(excluded.len());
    let mut scores = vec![0.0; USERS * ITEMS];
    for (users, excluded) in users.chunks(USERS * width).zip(excluded.chunks(USERS)) {
        let mut best: Vec<Best> = excluded.iter().map(|of| Best::new(of, k)).collect();
        for (block, numbers) in items.blocks.chunks_exact(ITEMS * width).enumerate() {
            stop::check()?;
            multiply(users, numbers, width, &mut scores);
            let first = block * ITEMS;
            let count = ITEMS.min(items.count - first);
            for (best, scores) in best.iter_mut().zip(scores.chunks_exact(ITEMS)) {
                best.take(first as u32, &scores[..count]);
            }
        }
        picks.extend(best.into_iter().map(Best::into_picks));
    }
    Ok(picks)
}

/// The best picks of a user so far.
struct Best<'a> {
    k: usize,
    heap: BinaryHeap<Reverse<Pick>>,
    /// The items to leave out that are in no block so far.
    excluded: &'a [u32],
}

impl<'a> Best<'a> {
    fn new(excluded: &'a [u32], k: usize) -> Self {
        Self {
            k,
            heap: BinaryHeap::new(),
            excluded,
        }
    }

    /// Takes the products with the items from `first` on.
    fn take(&mut self, first: u32, products: &[f32]) {
        // Most items are worse than all picks, which one comparison tells. Equal ones are later, so they are worse, too.
        let mut least = self.least();
        for (item, &product) in (first..).zip(products) {
            let is_better = least.is_none_or(|least| product > least);
            if !is_better || product.is_nan() || self.is_excluded(item) {
                continue;
            }
            if self.heap.len() == self.k {
                self.heap.pop();
            }
            self.heap.push(Reverse(Pick { item, product }));
            least = self.least();
        }
    }

    /// The product of the worst pick, if there are as many as wanted.
    fn least(&self) -> Option<f32> {
        let is_full = self.heap.len() >= self.k;
        let worst = self.heap.peek().filter(|_| is_full);
        worst.map(|Reverse(pick)| pick.product)
    }

    /// Whether to leave an item out. Items come in ascending order.
    fn is_excluded(&mut self, item: u32) -> bool {
        let before = self.excluded.partition_point(|excluded| *excluded < item);
        self.excluded = &self.excluded[before..];
        self.excluded.first() == Some(&item)
    }

    fn into_picks(self) -> Vec<Pick> {
        let picks = self.heap.into_sorted_vec();
        picks.into_iter().map(|Reverse(pick)| pick).collect()
    }
}

simd_fn! {
    /// The products of up to [`USERS`] users with the items of a block: `[USERS, ITEMS]`.
    fn multiply<'a>(users: &'a [f32], block: &'a [f32], width: usize, scores: &'a mut [f32]) {
        scores.fill(0.0);
        for (at, numbers) in block.chunks_exact(ITEMS).enumerate() {
            for (user, scores) in users.chunks_exact(width).zip(scores.chunks_exact_mut(ITEMS)) {
                let factor = user[at];
                for (score, number) in scores.iter_mut().zip(numbers) {
                    *score += factor * number;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random.
    fn numbers(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|n| (n as f32 * step).sin()).collect()
    }

    #[test]
    fn the_best_items_are_those_of_a_full_sort() {
        for (items, width, users) in [(1, 1, 1), (3, 2, 5), (2_500, 7, 6), (1_024, 3, 4)] {
            let (of_items, of_users) = (numbers(items * width, 1.7), numbers(users * width, 0.9));
            let vectors = ItemVectors::new(width, &of_items);
            assert_eq!(vectors.len(), items);
            let excluded: Vec<Vec<u32>> = (0..users as u32)
                .map(|user| {
                    (0..items as u32)
                        .filter(|item| item % 7 == user % 7)
                        .collect()
                })
                .collect();
            let found = top_k(&of_users, &excluded, &vectors, 10).unwrap();
            for (user, found) in found.into_iter().enumerate() {
                let of_user = &of_users[user * width..][..width];
                let pick = |item: usize| {
                    let pairs = of_user.iter().zip(&of_items[item * width..]);
                    let product = pairs.fold(0.0, |sum, (a, b)| sum + a * b);
                    let item = item as u32;
                    Pick { item, product }
                };
                let kept = (0..items).filter(|item| item % 7 != user % 7);
                let mut expected: Vec<Pick> = kept.map(pick).collect();
                expected.sort_by(|left, right| right.cmp(left));
                expected.truncate(10);
                assert_eq!(found, expected, "{items} items, user {user}");
            }
        }
    }

    #[test]
    fn equal_items_stay_in_their_order_and_nan_is_no_pick() {
        let vectors = ItemVectors::new(1, &[1.0, f32::NAN, 2.0, 2.0, 1.0, 2.0]);
        let items = |k: usize, excluded: &[u32]| -> Vec<u32> {
            let found = top_k(&[3.0], &[excluded.to_vec()], &vectors, k).unwrap();
            found[0].iter().map(|pick| pick.item).collect()
        };
        assert_eq!(items(2, &[]), [2, 3]);
        assert_eq!(items(10, &[]), [2, 3, 5, 0, 4]);
        assert_eq!(items(2, &[2, 5]), [3, 0]);
        assert_eq!(items(1, &[0, 1, 2, 3, 4, 5]), [0; 0]);
        assert!(top_k(&[], &[], &vectors, 3).unwrap().is_empty());
        let none = ItemVectors::new(1, &[]);
        assert!(none.is_empty() && top_k(&[3.0], &[vec![]], &none, 3).unwrap()[0].is_empty());
    }
}
