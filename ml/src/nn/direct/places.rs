//! [`Places`]: places in a slice, with their maximum, so that a kernel checks all of them at once.

use std::ops::Range;

/// Places in a slice.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    values: Vec<usize>,
    max: usize,
}

/// Some places one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct SomePlaces<'a> {
    values: &'a [usize],
    max: usize,
}

impl Places {
    pub(super) fn new(values: Vec<usize>) -> Self {
        let max = values.iter().copied().max().unwrap_or(0);
        Self { values, max }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn all(&self) -> SomePlaces<'_> {
        self.part(0..self.values.len())
    }

    pub(super) fn part(&self, range: Range<usize>) -> SomePlaces<'_> {
        SomePlaces {
            values: &self.values[range],
            max: self.max,
        }
    }
}

impl<'a> SomePlaces<'a> {
    pub(super) fn values(self) -> &'a [usize] {
        self.values
    }

    /// So many of them at once; the last ones may be fewer.
    #[inline(always)]
    pub(super) fn chunks(self, count: usize) -> impl Iterator<Item = Self> + use<'a> {
        let max = self.max;
        let chunks = self.values.chunks(count);
        chunks.map(move |values| Self { values, max })
    }

    /// A place that none of them exceeds.
    pub(super) fn max(self) -> usize {
        self.max
    }
}
