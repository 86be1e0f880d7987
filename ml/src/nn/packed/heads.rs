//! [`Heads`]: the attention of f32 on x86-64. The products of a short sequence are too small for `product`, so it has its own.
//!
//! ```text
//! for each sequence and head
//!     keys     in panels                 so that a vector is of several keys
//!     values   [keys][head width]
//!     for each block of queries
//!         queries  [queries][head width]     times the scale
//!         scores   [queries][keys]           sums in registers
//!         weights                            the softmax of scores + bias, in their place
//!         y                                  sums in registers
//! ```
//! The scores of a block and a panel stay in the cache. The slopes take the same way back, as `attention` says, with the values in
//! panels too. The order of each sum follows from the sequence alone, and multiplications are fused with additions: so the result
//! is the same bits, whatever the instruction set and the other sequences are.

use std::ops::Range;

use super::head::{Block, Head, QUERIES_AT_ONCE, Rows, SCORES_STEP};
use super::sequences::Sequences;
use super::sizes::{Part, Sizes};
use super::weights::score_slopes;
use crate::nn::direct::{Aligned, Instructions, Lanes, Work};
use crate::stop;

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
        let width = self.sizes.width();
        let mut scratch = Scratch::new(&self.sizes, sequences.longest());
        let mut y = vec![0.0; sequences.tokens() * width];
        self.each_head(qkv, bias, sequences, |tokens, head| {
            self.instructions.run(Forward {
                head,
                scratch: &mut scratch,
                y: &mut y[tokens.start * width..tokens.end * width],
            });
        })?;
        Ok(y)
    }

    /// The gradients with respect to `qkv` and to the bias.
    pub(super) fn gradients(
        &self,
        qkv: &[f32],
        bias: Option<&[f32]>,
        dy: &[f32],
        sequences: &Sequences,
    ) -> candle_core::Result<(Vec<f32>, Vec<f32>)> {
        let (width, columns) = (self.sizes.width(), self.sizes.columns());
        let mut scratch = Scratch::new(&self.sizes, sequences.longest());
        let mut of_slopes = Scratch::new(&self.sizes, sequences.longest());
        let mut dqkv = vec![0.0; qkv.len()];
        let mut dbias = vec![0.0; bias.map_or(0, <[f32]>::len)];
        self.each_head(qkv, bias, sequences, |tokens, head| {
            self.instructions.run(Backward {
                head,
                scratch: &mut scratch,
                of_slopes: &mut of_slopes,
                dy: &dy[tokens.start * width..tokens.end * width],
                dqkv: &mut dqkv[tokens.start * columns..tokens.end * columns],
                dbias: &mut dbias,
            });
        })?;
        Ok((dqkv, dbias))
    }

    /// Calls `each` with the tokens of each sequence that is not empty, and each of its heads.
    fn each_head(
        &self,
        qkv: &[f32],
        bias: Option<&[f32]>,
        sequences: &Sequences,
        mut each: impl FnMut(&Range<usize>, Head<'_>),
    ) -> candle_core::Result<()> {
        let columns = self.sizes.columns();
        for tokens in sequences.ranges().filter(|tokens| !tokens.is_empty()) {
            for head in 0..self.sizes.heads {
                stop::check()?;
                let head = Head {
                    sizes: &self.sizes,
                    head,
                    tokens: tokens.len(),
                    qkv: &qkv[tokens.start * columns..tokens.end * columns],
                    bias,
                };
                each(&tokens, head);
            }
        }
        Ok(())
    }
}

/// Memory for a head of a sequence.
#[derive(Debug)]
struct Scratch {
    /// Keys or values in panels.
    panels: Aligned,
    /// Values or keys, one after the other.
    rows: Aligned,
    /// The queries of a block.
    queries: Aligned,
    /// Numbers of pairs of a query and a key.
    pairs: Aligned,
}

impl Scratch {
    /// Memory for sequences of at most so many tokens.
    fn new(sizes: &Sizes, longest: usize) -> Self {
        let tokens = longest.next_multiple_of(SCORES_STEP);
        let at_once = QUERIES_AT_ONCE.min(longest);
        Self {
            panels: Aligned::zeros(tokens * sizes.head_width),
            rows: Aligned::zeros(longest * sizes.head_width),
            queries: Aligned::zeros(at_once * sizes.head_width),
            pairs: Aligned::zeros(at_once * tokens),
        }
    }
}

/// The attention of a head.
struct Forward<'a> {
    head: Head<'a>,
    scratch: &'a mut Scratch,
    /// `[tokens, width]`
    y: &'a mut [f32],
}

impl Work for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { head, scratch, y } = self;
        let Scratch {
            panels,
            rows,
            queries,
            pairs,
        } = scratch;
        let (width, head_width) = (head.sizes.width(), head.sizes.head_width);
        head.pack_panels::<L>(Part::Key, panels);
        head.copy_rows(Part::Value, rows);
        for block in head.blocks::<L>() {
            head.copy_queries(&block, queries);
            let of_queries = Rows {
                values: &queries[..],
                step: head_width,
            };
            head.write_pairs(lanes, &block, (of_queries, &panels[..]), pairs);
            head.weigh(&block, pairs);
            let to = &mut y[block.queries.start * width + head.head * head_width..];
            head.write_of_queries(lanes, &block, (&pairs[..], &rows[..]), (to, width));
        }
    }
}

/// The slopes of a head.
struct Backward<'a> {
    head: Head<'a>,
    scratch: &'a mut Scratch,
    of_slopes: &'a mut Scratch,
    /// `[tokens, width]`
    dy: &'a [f32],
    /// `[tokens, 3 width]`
    dqkv: &'a mut [f32],
    /// The numbers of all heads; none without a bias.
    dbias: &'a mut [f32],
}

impl Work for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self {
            head,
            scratch,
            of_slopes,
            dy,
            dqkv,
            dbias,
        } = self;
        let (sizes, head_width) = (head.sizes, head.sizes.head_width);
        let (width, columns) = (sizes.width(), sizes.columns());
        head.pack_panels::<L>(Part::Key, &mut scratch.panels);
        head.copy_rows(Part::Key, &mut scratch.rows);
        head.pack_panels::<L>(Part::Value, &mut of_slopes.panels);
        for block in head.blocks::<L>() {
            head.copy_queries(&block, &mut scratch.queries);
            let queries = Rows {
                values: &scratch.queries[..],
                step: head_width,
            };
            let weights = &mut scratch.pairs;
            head.write_pairs(lanes, &block, (queries, &scratch.panels[..]), weights);
            head.weigh(&block, weights);
            let dy = Rows {
                values: &dy[block.queries.start * width + head.head * head_width..],
                step: width,
            };
            let slopes = &mut of_slopes.pairs;
            head.write_pairs(lanes, &block, (dy, &of_slopes.panels[..]), slopes);
            let of_keys = |part| block.keys.start * columns + sizes.column(part, head.head);
            let to = (&mut dqkv[of_keys(Part::Value)..], columns);
            head.add_of_keys(lanes, &block, (&weights[..], dy), to);
            finish_slopes(&head, &block, &weights[..], slopes, dbias);
            let to = (&mut dqkv[of_keys(Part::Key)..], columns);
            head.add_of_keys(lanes, &block, (&slopes[..], queries), to);
            let of_queries = block.queries.start * columns + sizes.column(Part::Query, head.head);
            let to = &mut dqkv[of_queries..];
            let pairs = (&slopes[..], &scratch.rows[..]);
            head.write_of_queries(lanes, &block, pairs, (&mut *to, columns));
            let scale = sizes.scale as f32;
            for row in to.chunks_mut(columns).take(block.queries.len()) {
                row[..head_width]
                    .iter_mut()
                    .for_each(|slope| *slope *= scale);
            }
        }
    }
}

/// The slopes of the weights of a block become those of its scores, which are added to those of the bias.
#[inline(always)]
fn finish_slopes(
    head: &Head<'_>,
    block: &Block,
    weights: &[f32],
    slopes: &mut [f32],
    dbias: &mut [f32],
) {
    let places = block.first_score()..block.keys.end - block.base;
    let rows = slopes.chunks_exact_mut(block.step);
    let rows = rows.zip(weights.chunks_exact(block.step));
    for (query, (slopes, weights)) in block.queries.clone().zip(rows) {
        let slopes = &mut slopes[places.clone()];
        score_slopes(&weights[places.clone()], slopes);
        if let (Some(distances), Some(_)) = (head.sizes.distances, head.bias) {
            let of_head = &mut dbias[distances.of_head(head.head)];
            distances.add_slopes((query, &block.keys), slopes, of_head);
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

    fn bits(values: Vec<f32>) -> Vec<u32> {
        values.into_iter().map(f32::to_bits).collect()
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
                let dy = numbers(sequences.tokens() * sizes.width(), 1.9);
                let bias = numbers(3 * 21, 1.3);
                let mut all = Heads::all(&sizes).map(|heads| {
                    let y = heads.forward(&qkv, Some(&bias), &sequences).unwrap();
                    let slopes = heads.gradients(&qkv, Some(&bias), &dy, &sequences);
                    let (dqkv, dbias) = slopes.unwrap();
                    [bits(y), bits(dqkv), bits(dbias)]
                });
                let Some(widest) = all.next() else {
                    return;
                };
                assert!(all.all(|bits| bits == widest), "{sizes:?}");
            }
        }
    }
}
