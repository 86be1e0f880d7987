//! [`Sequences`]: where sequences lie that follow each other in the first axis of a tensor.

use std::ops::Range;
use std::sync::Arc;

/// Sequences that lie one after the other in the first axis of a tensor: no padding. A clone is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequences {
    /// The first token of each sequence, and the number of all tokens at the end.
    starts: Arc<[usize]>,
}

impl Sequences {
    /// Sequences of so many tokens each. A sequence may be empty.
    pub fn of_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut end = 0;
        let ends = lengths.into_iter().map(|length| {
            end += length;
            end
        });
        let starts: Vec<usize> = std::iter::once(0).chain(ends).collect();
        Self {
            starts: starts.into(),
        }
    }

    /// The number of sequences.
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// The tokens of all sequences.
    pub fn tokens(&self) -> usize {
        self.starts[self.count()]
    }

    /// The tokens of a sequence.
    ///
    /// # Panics
    /// If there is no such sequence.
    pub fn range(&self, sequence: usize) -> Range<usize> {
        self.starts[sequence]..self.starts[sequence + 1]
    }

    /// The tokens of each sequence.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.starts.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// The tokens of the longest sequence; 0 if there is none.
    pub fn longest(&self) -> usize {
        self.ranges().map(|tokens| tokens.len()).max().unwrap_or(0)
    }

    /// The place of each token in its sequence, from 0.
    pub fn positions(&self) -> Vec<u32> {
        let places = self.ranges().flat_map(|tokens| 0..tokens.len());
        places.map(|place| place as u32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_follow_each_other() {
        let sequences = Sequences::of_lengths([2, 0, 3]);
        assert_eq!((sequences.count(), sequences.tokens()), (3, 5));
        assert_eq!(sequences.range(2), 2..5);
        assert_eq!(sequences.ranges().collect::<Vec<_>>(), [0..2, 2..2, 2..5]);
        assert_eq!(sequences.positions(), [0, 1, 0, 1, 2]);
        assert_eq!(sequences.longest(), 3);
    }

    #[test]
    fn there_may_be_none() {
        let none = Sequences::of_lengths([]);
        assert_eq!((none.count(), none.tokens(), none.longest()), (0, 0, 0));
        assert!(none.positions().is_empty());
    }
}
