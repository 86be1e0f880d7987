//! [`Sizes`]: the sizes of an attention, and the matrices in its argument.

use std::ops::Range;

use super::distances::Distances;
use super::sight::Sight;
use crate::nn::product::{Matrix, MatrixMut};

/// A third of the columns of the argument.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Query,
    Key,
    Value,
}

/// The sizes of an attention. None is 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) heads: usize,
    pub(super) head_width: usize,
    /// The factor of a product of a query and a key.
    pub(super) scale: f64,
    pub(super) sight: Sight,
    /// Those of the bias, if there is one.
    pub(super) distances: Option<Distances>,
}

impl Sizes {
    /// The columns of the result.
    pub(super) fn width(&self) -> usize {
        self.heads * self.head_width
    }

    /// The columns of the argument: queries, keys and values.
    pub(super) fn columns(&self) -> usize {
        3 * self.width()
    }

    /// The first column of a head in a part of the argument.
    pub(super) fn column(&self, part: Part, head: usize) -> usize {
        part as usize * self.width() + head * self.head_width
    }

    /// The queries, keys or values of a head, of some tokens.
    pub(super) fn part<'a, T>(
        &self,
        qkv: &'a [T],
        tokens: &Range<usize>,
        part: Part,
        head: usize,
    ) -> Matrix<'a, T> {
        let columns = self.columns();
        let rows = &qkv[tokens.start * columns..tokens.end * columns];
        let first = self.column(part, head);
        Matrix::new(rows, tokens.len(), columns).columns(first..first + self.head_width)
    }

    /// The slopes of the queries, keys or values of a head, of some tokens.
    pub(super) fn part_mut<'a, T>(
        &self,
        slopes: &'a mut [T],
        tokens: &Range<usize>,
        part: Part,
        head: usize,
    ) -> MatrixMut<'a, T> {
        let columns = self.columns();
        let rows = &mut slopes[tokens.start * columns..tokens.end * columns];
        let first = self.column(part, head);
        MatrixMut::new(rows, tokens.len(), columns).columns(first..first + self.head_width)
    }

    /// The result, or its slopes, of a head, of some tokens.
    pub(super) fn result<'a, T>(
        &self,
        y: &'a [T],
        tokens: &Range<usize>,
        head: usize,
    ) -> Matrix<'a, T> {
        let width = self.width();
        let rows = &y[tokens.start * width..tokens.end * width];
        let first = head * self.head_width;
        Matrix::new(rows, tokens.len(), width).columns(first..first + self.head_width)
    }

    /// The place of the result of a head, of some tokens.
    pub(super) fn result_mut<'a, T>(
        &self,
        y: &'a mut [T],
        tokens: &Range<usize>,
        head: usize,
    ) -> MatrixMut<'a, T> {
        let width = self.width();
        let rows = &mut y[tokens.start * width..tokens.end * width];
        let first = head * self.head_width;
        MatrixMut::new(rows, tokens.len(), width).columns(first..first + self.head_width)
    }
}
