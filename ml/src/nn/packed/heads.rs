//! [`Heads`]: the attention of f32 on x86-64. The products of a short sequence are too small for `product`, so it has its own.
//!
//! ```text
//! for each sequence and head
//!     keys     [key / lanes][head width][lanes]    transposed, so that a vector is of several keys
//!     values   [keys][head width]
//!     for each block of queries
//!         queries  [queries][head width]           times the scale
//!         scores   [queries][keys]                 sums in registers
//!         weights                                  the softmax of scores + bias, in their place
//!         y                                        sums in registers
//! ```
//! The block and a vector's keys stay in the cache. The order of each sum follows from the sequence alone, and multiplications are
//! fused with additions: so the result is the same bits, whatever the instruction set and the other sequences are.

use std::ops::Range;

use super::sequences::Sequences;
use super::sizes::{Part, Sizes};
use super::tile::{Terms, write_sums};
use super::weights::{add_bias, softmax};
use crate::nn::direct::{self, Aligned, Instructions, Lanes};
use crate::stop;

/// The queries of a block.
const QUERIES_AT_ONCE: usize = 48;
/// Rows of scores are a multiple of it, that of the parts of a sum and of the most lanes of a vector.
const SCORES_STEP: usize = 16;

/// The attention with an instruction set of this processor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    instructions: Instructions,
    sizes: Sizes,
}

impl Heads {
    /// `None` if no vectors of this processor divide a head.
    pub(super) fn new(sizes: &Sizes) -> Option<Self> {
        Self::all(sizes).next()
    }

    /// Those of all instruction sets, the widest first.
    fn all(sizes: &Sizes) -> impl Iterator<Item = Self> {
        let sizes = *sizes;
        let divides = move |set: &Instructions| sizes.head_width.is_multiple_of(set.lanes());
        let sets = Instructions::all().filter(divides);
        sets.map(move |instructions| Self {
            instructions,
            sizes,
        })
    }

    /// The result for `qkv`, with the numbers of all heads of the bias.
    pub(super) fn forward(
        &self,
        qkv: &[f32],
        bias: Option<&[f32]>,
        sequences: &Sequences,
    ) -> candle_core::Result<Vec<f32>> {
        let sizes = &self.sizes;
        let mut scratch = Scratch::new(sizes, sequences.longest());
        let mut y = vec![0.0; sequences.tokens() * sizes.width()];
        for tokens in sequences.ranges().filter(|tokens| !tokens.is_empty()) {
            let columns = sizes.columns();
            let qkv = &qkv[tokens.start * columns..tokens.end * columns];
            let y = &mut y[tokens.start * sizes.width()..tokens.end * sizes.width()];
            for head in 0..sizes.heads {
                stop::check()?;
                self.instructions.run(Work {
                    head: Head {
                        sizes,
                        head,
                        tokens: tokens.len(),
                        qkv,
                        bias,
                    },
                    scratch: &mut scratch,
                    y: &mut *y,
                });
            }
        }
        Ok(y)
    }
}

/// Memory for a head of a sequence.
#[derive(Debug)]
struct Scratch {
    keys: Aligned,
    values: Aligned,
    queries: Aligned,
    scores: Aligned,
}

impl Scratch {
    /// Memory for sequences of at most so many tokens.
    fn new(sizes: &Sizes, longest: usize) -> Self {
        let tokens = longest.next_multiple_of(SCORES_STEP);
        let at_once = QUERIES_AT_ONCE.min(longest);
        Self {
            keys: Aligned::zeros(tokens * sizes.head_width),
            values: Aligned::zeros(longest * sizes.head_width),
            queries: Aligned::zeros(at_once * sizes.head_width),
            scores: Aligned::zeros(at_once * tokens),
        }
    }
}

/// A head of a sequence, which has a token.
#[derive(Debug, Clone, Copy)]
struct Head<'a> {
    sizes: &'a Sizes,
    head: usize,
    tokens: usize,
    /// `[tokens, 3 width]`
    qkv: &'a [f32],
    /// The numbers of all heads.
    bias: Option<&'a [f32]>,
}

/// The attention of a head.
struct Work<'a> {
    head: Head<'a>,
    scratch: &'a mut Scratch,
    /// `[tokens, width]`
    y: &'a mut [f32],
}

impl direct::Work for Work<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { head, scratch, y } = self;
        let Scratch {
            keys,
            values,
            queries,
            scores,
        } = scratch;
        head.pack_keys::<L>(keys);
        head.copy_values(values);
        for first in (0..head.tokens).step_by(QUERIES_AT_ONCE) {
            let end = head.tokens.min(first + QUERIES_AT_ONCE);
            let block = Block::new::<L>(first..end, &head);
            head.copy_queries(&block, queries);
            head.write_scores(lanes, &block, (&queries[..], &keys[..]), scores);
            head.weigh(&block, scores);
            head.write_means(lanes, &block, (&scores[..], &values[..]), y);
        }
    }
}

/// Some queries, and the keys that they see.
struct Block {
    queries: Range<usize>,
    keys: Range<usize>,
    /// The key of the first score of a row.
    base: usize,
    /// The scores of a row.
    step: usize,
}

impl Block {
    #[inline(always)]
    fn new<L: Lanes>(queries: Range<usize>, head: &Head<'_>) -> Self {
        let keys = head.sizes.sight.of_queries(&queries, head.tokens);
        let base = keys.start / panel::<L>() * panel::<L>();
        let of_panels = (keys.end - base).next_multiple_of(panel::<L>());
        let step = of_panels.min(head.tokens.next_multiple_of(L::COUNT) - base);
        Self {
            queries,
            keys,
            base,
            step: step.next_multiple_of(SCORES_STEP),
        }
    }
}

/// The keys of a panel: those of two vectors.
#[inline(always)]
fn panel<L: Lanes>() -> usize {
    2 * L::COUNT
}

impl<'a> Head<'a> {
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

    /// Writes the keys in panels; those behind the last one are 0.
    #[inline(always)]
    fn pack_keys<L: Lanes>(&self, to: &mut [f32]) {
        let head_width = self.sizes.head_width;
        for (start, lanes) in self.panels::<L>(0..self.tokens) {
            let panel = &mut to[start * head_width..][..lanes * head_width];
            for lane in 0..lanes {
                let rows = panel.chunks_exact_mut(lanes);
                match start + lane < self.tokens {
                    true => {
                        let numbers = self.of_token(Part::Key, start + lane);
                        let pairs = rows.zip(numbers);
                        pairs.for_each(|(row, number)| row[lane] = *number);
                    }
                    false => rows.for_each(|row| row[lane] = 0.0),
                }
            }
        }
    }

    #[inline(always)]
    fn copy_values(&self, to: &mut [f32]) {
        let rows = to.chunks_exact_mut(self.sizes.head_width);
        for (token, to) in (0..self.tokens).zip(rows) {
            to.copy_from_slice(self.of_token(Part::Value, token));
        }
    }

    /// Writes the queries of a block, times the scale.
    #[inline(always)]
    fn copy_queries(&self, block: &Block, to: &mut [f32]) {
        let scale = self.sizes.scale as f32;
        let rows = to.chunks_exact_mut(self.sizes.head_width);
        for (token, to) in block.queries.clone().zip(rows) {
            let numbers = to.iter_mut().zip(self.of_token(Part::Query, token));
            numbers.for_each(|(to, number)| *to = number * scale);
        }
    }

    /// Writes the products of the queries of a block with the keys of their panels, `[queries, step]`.
    #[inline(always)]
    fn write_scores<L: Lanes>(
        &self,
        lanes: L,
        block: &Block,
        (queries, keys): (&[f32], &[f32]),
        scores: &mut [f32],
    ) {
        let head_width = self.sizes.head_width;
        for (start, width) in self.panels::<L>(block.base..block.keys.end) {
            let terms = Terms {
                rows: block.queries.len(),
                terms: head_width,
                left: queries,
                left_step: head_width,
                right: &keys[start * head_width..],
                right_step: width,
            };
            let to = &mut scores[start - block.base..];
            match width == panel::<L>() {
                true => write_sums::<L, 2>(lanes, terms, to, block.step),
                false => write_sums::<L, 1>(lanes, terms, to, block.step),
            }
        }
    }

    /// Replaces the scores of a block by weights: 0 for keys that a query does not see.
    #[inline(always)]
    fn weigh(&self, block: &Block, scores: &mut [f32]) {
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

    /// Writes the means of the values to the columns of the head.
    #[inline(always)]
    fn write_means<L: Lanes>(
        &self,
        lanes: L,
        block: &Block,
        (weights, values): (&[f32], &[f32]),
        y: &mut [f32],
    ) {
        let (head_width, width) = (self.sizes.head_width, self.sizes.width());
        let first = block.queries.start * width + self.head * head_width;
        for column in (0..head_width).step_by(panel::<L>()) {
            let terms = Terms {
                rows: block.queries.len(),
                terms: block.keys.len(),
                left: &weights[block.keys.start - block.base..],
                left_step: block.step,
                right: &values[block.keys.start * head_width + column..],
                right_step: head_width,
            };
            let to = &mut y[first + column..];
            match head_width - column >= panel::<L>() {
                true => write_sums::<L, 2>(lanes, terms, to, width),
                false => write_sums::<L, 1>(lanes, terms, to, width),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::distances::Distances;
    use super::super::sight::Sight;
    use super::*;

    fn numbers(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|n| (n as f32 * step).sin()).collect()
    }

    #[test]
    fn all_instruction_sets_give_the_same_bits() {
        let sequences = Sequences::of_lengths([1, 70, 8, 0, 12, 33]);
        for head_width in [16, 32, 80] {
            for (causal, window) in [(false, None), (true, None), (false, Some(3))] {
                let sizes = Sizes {
                    heads: 3,
                    head_width,
                    scale: 0.25,
                    sight: Sight { causal, window },
                    distances: Distances::new(21),
                };
                let qkv = numbers(sequences.tokens() * sizes.columns(), 0.7);
                let bias = numbers(3 * 21, 1.3);
                let mut all = Heads::all(&sizes).map(|heads| {
                    let y = heads.forward(&qkv, Some(&bias), &sequences).unwrap();
                    y.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
                });
                let Some(widest) = all.next() else {
                    return;
                };
                assert!(all.all(|bits| bits == widest), "{sizes:?}");
            }
        }
    }
}
