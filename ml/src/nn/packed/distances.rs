//! [`Distances`]: the numbers of a bias, one for each distance of a key from a query.

use std::ops::Range;

use crate::nn::values::Float;

/// The distances key - query of a bias: a number for each of -(span - 1) ..= span - 1. Greater distances count as the last ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Distances {
    span: usize,
}

impl Distances {
    /// So many distances; `None` unless as many are below 0 as above.
    pub(super) fn new(count: usize) -> Option<Self> {
        let span = count / 2 + 1;
        (count % 2 == 1).then_some(Self { span })
    }

    /// The numbers of a head, of those of all heads.
    pub(super) fn of_head(self, head: usize) -> Range<usize> {
        let count = 2 * self.span - 1;
        head * count..(head + 1) * count
    }

    /// The place of the distance among the numbers of a head.
    pub(super) fn place(self, query: usize, key: usize) -> usize {
        let place = (key + self.span - 1).saturating_sub(query);
        place.min(2 * (self.span - 1))
    }

    /// The places of the distances of keys, if they follow each other. There is a key.
    pub(super) fn places(self, query: usize, keys: &Range<usize>) -> Option<Range<usize>> {
        let first = self.place(query, keys.start);
        let end = self.place(query, keys.end - 1) + 1;
        (end - first == keys.len()).then_some(first..end)
    }

    /// Adds the slopes of the scores of a query with `keys` to those of the numbers of a head.
    pub(super) fn add_slopes<T: Float>(
        self,
        (query, keys): (usize, &Range<usize>),
        slopes: &[T],
        of_head: &mut [T],
    ) {
        match self.places(query, keys) {
            Some(places) => {
                let pairs = of_head[places].iter_mut().zip(slopes);
                pairs.for_each(|(sum, &slope)| *sum += slope);
            }
            None => {
                for (key, &slope) in keys.clone().zip(slopes) {
                    of_head[self.place(query, key)] += slope;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_keys_have_the_place_of_the_farthest() {
        assert!(Distances::new(4).is_none());
        assert!(Distances::new(0).is_none());
        let distances = Distances::new(5).unwrap();
        let places = |query| [0, 1, 2, 3, 4, 5].map(|key| distances.place(query, key));
        assert_eq!(places(0), [2, 3, 4, 4, 4, 4]);
        assert_eq!(places(3), [0, 0, 1, 2, 3, 4]);
        assert_eq!(distances.places(3, &(1..6)), Some(0..5));
        assert_eq!(distances.places(3, &(0..6)), None);
        assert_eq!(distances.of_head(2), 10..15);
        let one = Distances::new(1).unwrap();
        assert_eq!(one.place(3, 9), 0);
    }
}
