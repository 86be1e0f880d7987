//! [`Head`]: a head of a sequence, and the products of its queries, keys and values in blocks of queries.
//!
//! A panel holds the keys or values of two vectors, transposed: `[head width][lanes]`, so that a vector is of several of them.

use std::ops::Range;

use super::sizes::{Part, Sizes};
use super::tile::{Place, Terms, write_sums};
use super::weights::{add_bias, softmax};
use crate::nn::direct::Lanes;

/// The queries of a block.
pub(super) const QUERIES_AT_ONCE: usize = 48;
/// Rows of scores are a multiple of it, that of the parts of a sum and of the most lanes of a vector.
pub(super) const SCORES_STEP: usize = 16;

/// A head of a sequence, which has a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) sizes: &'a Sizes,
    pub(super) head: usize,
    pub(super) tokens: usize,
    /// `[tokens, 3 width]`
    pub(super) qkv: &'a [f32],
    /// The numbers of all heads.
    pub(super) bias: Option<&'a [f32]>,
}

/// Some queries, and the keys that they see.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) queries: Range<usize>,
    pub(super) keys: Range<usize>,
    /// The key of the first score of a row.
    pub(super) base: usize,
    /// The scores of a row.
    pub(super) step: usize,
}

/// Rows of numbers that are so far apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) step: usize,
}

impl Block {
    /// The place of the first key in a row of scores.
    #[inline(always)]
    pub(super) fn first_score(&self) -> usize {
        self.keys.start - self.base
    }
}

/// The keys of a panel.
#[inline(always)]
fn panel<L: Lanes>() -> usize {
    2 * L::COUNT
}

impl<'a> Head<'a> {
    /// The queries of the sequence in blocks.
    #[inline(always)]
    pub(super) fn blocks<L: Lanes>(self) -> impl Iterator<Item = Block> {
        let starts = (0..self.tokens).step_by(QUERIES_AT_ONCE);
        starts.map(move |start| {
            let queries = start..self.tokens.min(start + QUERIES_AT_ONCE);
            let keys = self.sizes.sight.of_queries(&queries, self.tokens);
            let base = keys.start / panel::<L>() * panel::<L>();
            let of_panels = (keys.end - base).next_multiple_of(panel::<L>());
            let step = of_panels.min(self.tokens.next_multiple_of(L::COUNT) - base);
            Block {
                queries,
                keys,
                base,
                step: step.next_multiple_of(SCORES_STEP),
            }
        })
    }

    /// The numbers of a token in a part of the argument.
    #[inline(always)]
    fn of_token(&self, part: Part, token: usize) -> &'a [f32] {
        let first = token * self.sizes.columns() + self.sizes.column(part, self.head);
        &self.qkv[first..][..self.sizes.head_width]
    }

    /// The first key of each panel, and its keys: those of two vectors, or of one if the last panel needs no more.
    #[inline(always)]
    fn panels<L: Lanes>(&self, keys: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let end = self.tokens.next_multiple_of(L::COUNT);
        let starts = keys.step_by(panel::<L>());
        starts.map(move |start| (start, panel::<L>().min(end - start)))
    }

    /// Writes the keys or values in panels; those behind the last one are 0.
    #[inline(always)]
    pub(super) fn pack_panels<L: Lanes>(&self, part: Part, to: &mut [f32]) {
        let head_width = self.sizes.head_width;
        for (start, lanes) in self.panels::<L>(0..self.tokens) {
            let panel = &mut to[start * head_width..][..lanes * head_width];
            for lane in 0..lanes {
                let rows = panel.chunks_exact_mut(lanes);
                match start + lane < self.tokens {
                    true => {
                        let numbers = self.of_token(part, start + lane);
                        let pairs = rows.zip(numbers);
                        pairs.for_each(|(row, number)| row[lane] = *number);
                    }
                    false => rows.for_each(|row| row[lane] = 0.0),
                }
            }
        }
    }

    /// Writes the keys or values one after the other.
    #[inline(always)]
    pub(super) fn copy_rows(&self, part: Part, to: &mut [f32]) {
        let rows = to.chunks_exact_mut(self.sizes.head_width);
        for (token, to) in (0..self.tokens).zip(rows) {
            to.copy_from_slice(self.of_token(part, token));
        }
    }

    /// Writes the queries of a block, times the scale.
    #[inline(always)]
    pub(super) fn copy_queries(&self, block: &Block, to: &mut [f32]) {
        let scale = self.sizes.scale as f32;
        let rows = to.chunks_exact_mut(self.sizes.head_width);
        for (token, to) in block.queries.clone().zip(rows) {
            let numbers = to.iter_mut().zip(self.of_token(Part::Query, token));
            numbers.for_each(|(to, number)| *to = number * scale);
        }
    }

    /// Writes the products of the rows of a block with those in panels, `[queries, step]`.
    #[inline(always)]
    pub(super) fn write_pairs<L: Lanes>(
        &self,
        lanes: L,
        block: &Block,
        (rows, panels): (Rows<'_>, &[f32]),
        to: &mut [f32],
    ) {
        let head_width = self.sizes.head_width;
        for (start, width) in self.panels::<L>(block.base..block.keys.end) {
            let terms = Terms {
                rows: block.queries.len(),
                terms: head_width,
                left: rows.values,
                left_steps: [rows.step, 1],
                right: &panels[start * head_width..],
                right_step: width,
            };
            let place = Place {
                to: &mut to[start - block.base..],
                step: block.step,
                adds: false,
            };
            match width == panel::<L>() {
                true => write_sums::<L, 2>(lanes, terms, place),
                false => write_sums::<L, 1>(lanes, terms, place),
            }
        }
    }

    /// Replaces the scores of a block by weights: 0 for keys that a query does not see.
    #[inline(always)]
    pub(super) fn weigh(&self, block: &Block, scores: &mut [f32]) {
        let rows = scores.chunks_exact_mut(block.step);
        for (query, row) in block.queries.clone().zip(rows) {
            let seen = self.sizes.sight.of_query(query, self.tokens);
            let (start, end) = (seen.start - block.base, seen.end - block.base);
            row[..start].fill(f32::NEG_INFINITY);
            row[end..].fill(f32::NEG_INFINITY);
            if let Some(bias) = self.bias {
                let query = (self.head, query);
                add_bias(self.sizes, query, &seen, bias, &mut row[start..end]);
            }
            softmax(row);
        }
    }

    /// Writes for each query of a block the sum of the rows of its keys, each times the number of the pair.
    #[inline(always)]
    pub(super) fn write_of_queries<L: Lanes>(
        &self,
        lanes: L,
        block: &Block,
        (pairs, of_keys): (&[f32], &[f32]),
        (to, step): (&mut [f32], usize),
    ) {
        let head_width = self.sizes.head_width;
        for column in (0..head_width).step_by(panel::<L>()) {
            let terms = Terms {
                rows: block.queries.len(),
                terms: block.keys.len(),
                left: &pairs[block.first_score()..],
                left_steps: [block.step, 1],
                right: &of_keys[block.keys.start * head_width + column..],
                right_step: head_width,
            };
            let place = Place {
                to: &mut to[column..],
                step,
                adds: false,
            };
            match head_width - column >= panel::<L>() {
                true => write_sums::<L, 2>(lanes, terms, place),
                false => write_sums::<L, 1>(lanes, terms, place),
            }
        }
    }

    /// Adds for each key of a block the sum of the rows of its queries, each times the number of the pair.
    #[inline(always)]
    pub(super) fn add_of_keys<L: Lanes>(
        &self,
        lanes: L,
        block: &Block,
        (pairs, of_queries): (&[f32], Rows<'_>),
        (to, step): (&mut [f32], usize),
    ) {
        let head_width = self.sizes.head_width;
        for column in (0..head_width).step_by(panel::<L>()) {
            let terms = Terms {
                rows: block.keys.len(),
                terms: block.queries.len(),
                left: &pairs[block.first_score()..],
                left_steps: [1, block.step],
                right: &of_queries.values[column..],
                right_step: of_queries.step,
            };
            let place = Place {
                to: &mut to[column..],
                step,
                adds: true,
            };
            match head_width - column >= panel::<L>() {
                true => write_sums::<L, 2>(lanes, terms, place),
                false => write_sums::<L, 1>(lanes, terms, place),
            }
        }
    }
}
