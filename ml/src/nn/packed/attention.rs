//! The attention of the tokens of each sequence to each other.
//!
//! ```text
//! forward   y = P V      P = softmax(Q Kᵀ · scale + bias)      for each sequence and head; P is not kept
//! backward  dV = Pᵀ dy   dS = P * (dy Vᵀ - Σ P * dy Vᵀ)   dbias = dS   dQ = dS K · scale   dK = dSᵀ Q · scale
//! ```
//! P is computed for a block of queries at a time, so that a long sequence needs little memory. A head is some columns of the
//! argument, and a sequence is some rows of it, so that nothing is copied. The order of each sum follows from the sequence alone.
//! `heads` has passes of its own for f32.
//!
//! Vaswani et al., "Attention is all you need", 2017.

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Shape, Tensor};

use super::distances::Distances;
use super::heads::Heads;
use super::padded::of_tensors;
use super::sequences::Sequences;
use super::sight::Sight;
use super::sizes::{Part, Sizes};
use super::weights::{weigh, write_score_slopes};
use crate::nn::product::{Matrix, MatrixMut, add_product, write_product};
use crate::nn::values::{Float, elements, storage, with_elements, with_float};
use crate::{Result, stop};

/// The queries of a block.
const QUERIES_AT_ONCE: usize = 128;

/// How the tokens of a sequence attend to each other.
#[derive(Debug, Clone)]
pub struct PackedAttention {
    /// The parts of the queries, keys and values that do not see each other; they have the same width.
    pub heads: usize,
    /// The factor of the product of a query and a key; 1 / √width of a head if `None`.
    pub scale: Option<f64>,
    /// A token sees itself and those before it.
    pub causal: bool,
    /// A token sees those up to this distance on each side.
    pub window: Option<usize>,
}

/// The mean value for each token of each sequence, weighted by how well the keys of its sequence fit: from `qkv`
/// `[tokens, 3 width]`, the queries, keys and values beside each other, a tensor `[tokens, width]`.
///
/// `bias` `[heads, 2 span - 1]` is added to the scores, by the distance key - query from -(span - 1) on; greater distances
/// count as `span - 1`. The gradients are those of `qkv` and `bias`.
///
/// # Errors
/// [`Error::Internal`](crate::Error::Internal) for sizes that do not fit; [`Error::Cancelled`](crate::Error::Cancelled).
pub fn packed_attention(
    qkv: &Tensor,
    bias: Option<&Tensor>,
    sequences: &Sequences,
    how: &PackedAttention,
) -> Result<Tensor> {
    let sizes = sizes_of(qkv.shape(), bias.map(Tensor::shape), sequences, how)?;
    if !qkv.device().is_cpu() {
        return of_tensors(qkv, bias, sequences, &sizes);
    }
    let attend = Attend {
        sequences: sequences.clone(),
        sizes,
    };
    let qkv = qkv.contiguous()?;
    Ok(match bias {
        None => qkv.apply_op1(attend)?,
        Some(bias) => qkv.apply_op2(&bias.contiguous()?, attend)?,
    })
}

/// The sizes, if they fit.
pub(super) fn sizes_of(
    qkv: &Shape,
    bias: Option<&Shape>,
    sequences: &Sequences,
    how: &PackedAttention,
) -> candle_core::Result<Sizes> {
    let (tokens, columns) = qkv.dims2()?;
    let heads = how.heads;
    let distances = match bias.map(Shape::dims) {
        None => Some(None),
        Some(&[of_heads, count]) if of_heads == heads => Distances::new(count).map(Some),
        Some(_) => None,
    };
    let fits = heads > 0 && columns > 0 && columns.is_multiple_of(3 * heads);
    match distances {
        Some(distances) if fits && tokens == sequences.tokens() => {
            let head_width = columns / (3 * heads);
            let scale = how.scale.unwrap_or(1.0 / (head_width as f64).sqrt());
            let sight = Sight {
                causal: how.causal,
                window: how.window,
            };
            Ok(Sizes {
                heads,
                head_width,
                scale,
                sight,
                distances,
            })
        }
        _ => candle_core::bail!(
            "packed attention {how:?}: {qkv:?}, bias {bias:?}, {} tokens",
            sequences.tokens()
        ),
    }
}

#[derive(Debug)]
struct Attend {
    sequences: Sequences,
    sizes: Sizes,
}

/// Some queries of a head, and the keys that they see, as tokens.
#[derive(Debug, Clone)]
struct Block {
    head: usize,
    queries: Range<usize>,
    keys: Range<usize>,
    /// The tokens of the sequence.
    tokens: Range<usize>,
}

impl Attend {
    /// Calls `each` with each block and the weights of its queries, `[queries, keys]`.
    fn each_block<T: Float>(
        &self,
        qkv: &[T],
        bias: Option<&[T]>,
        mut each: impl FnMut(&Block, &[T]),
    ) -> candle_core::Result<()> {
        let sizes = &self.sizes;
        let mut weights = Vec::new();
        for tokens in self.sequences.ranges() {
            stop::check()?;
            for head in 0..sizes.heads {
                for first in tokens.clone().step_by(QUERIES_AT_ONCE) {
                    let queries = first..tokens.end.min(first + QUERIES_AT_ONCE);
                    let block = self.block(head, queries, tokens.clone());
                    weights.resize(block.queries.len() * block.keys.len(), T::zero());
                    self.write_weights(&block, qkv, bias, &mut weights);
                    each(&block, &weights);
                }
            }
        }
        Ok(())
    }

    fn block(&self, head: usize, queries: Range<usize>, tokens: Range<usize>) -> Block {
        let start = tokens.start;
        let places = queries.start - start..queries.end - start;
        let keys = self.sizes.sight.of_queries(&places, tokens.len());
        Block {
            head,
            queries,
            keys: start + keys.start..start + keys.end,
            tokens,
        }
    }

    fn write_weights<T: Float>(
        &self,
        block: &Block,
        qkv: &[T],
        bias: Option<&[T]>,
        weights: &mut [T],
    ) {
        let (sizes, head) = (&self.sizes, block.head);
        let queries = sizes.part(qkv, &block.queries, Part::Query, head);
        let keys = sizes.part(qkv, &block.keys, Part::Key, head);
        let to = MatrixMut::new(weights, block.queries.len(), block.keys.len());
        write_product(queries, keys.transposed(), to);
        let keys = block.key_places();
        let rows = weights.chunks_exact_mut(keys.len());
        for (query, scores) in block.query_places().zip(rows) {
            let places = (&keys, block.tokens.len());
            weigh(sizes, (head, query), places, bias, scores);
        }
    }

    fn forward<T: Float>(&self, qkv: &[T], bias: Option<&[T]>) -> candle_core::Result<Vec<T>> {
        let sizes = &self.sizes;
        let mut y = vec![T::zero(); self.sequences.tokens() * sizes.width()];
        self.each_block(qkv, bias, |block, weights| {
            let weights = Matrix::new(weights, block.queries.len(), block.keys.len());
            let values = sizes.part(qkv, &block.keys, Part::Value, block.head);
            let to = sizes.result_mut(&mut y, &block.queries, block.head);
            write_product(weights, values, to);
        })?;
        Ok(y)
    }

    /// The gradients with respect to the argument and to the bias.
    fn gradients<T: Float>(
        &self,
        qkv: &[T],
        bias: Option<&[T]>,
        dy: &[T],
    ) -> candle_core::Result<(Vec<T>, Vec<T>)> {
        let sizes = &self.sizes;
        let mut dqkv = vec![T::zero(); qkv.len()];
        let mut dbias = vec![T::zero(); bias.map_or(0, <[T]>::len)];
        let mut slopes = Vec::new();
        self.each_block(qkv, bias, |block, weights| {
            let (head, rows, keys) = (block.head, &block.queries, &block.keys);
            slopes.resize(weights.len(), T::zero());
            let of_weights = Matrix::new(weights, rows.len(), keys.len());
            let dy = sizes.result(dy, rows, head);
            let values = sizes.part(qkv, keys, Part::Value, head);
            let to = MatrixMut::new(&mut slopes, rows.len(), keys.len());
            write_product(dy, values.transposed(), to);
            let to = sizes.part_mut(&mut dqkv, keys, Part::Value, head);
            add_product(of_weights.transposed(), dy, to);
            self.finish_slopes(block, weights, &mut slopes, &mut dbias);
            let slopes = Matrix::new(&slopes, rows.len(), keys.len());
            let of_keys = sizes.part(qkv, keys, Part::Key, head);
            let to = sizes.part_mut(&mut dqkv, rows, Part::Query, head);
            add_product(slopes, of_keys, to);
            let of_queries = sizes.part(qkv, rows, Part::Query, head);
            let to = sizes.part_mut(&mut dqkv, keys, Part::Key, head);
            add_product(slopes.transposed(), of_queries, to);
        })?;
        Ok((dqkv, dbias))
    }

    /// Slopes of weights become those of the products of queries and keys; on their way, those of the bias are added to its own.
    fn finish_slopes<T: Float>(
        &self,
        block: &Block,
        weights: &[T],
        slopes: &mut [T],
        dbias: &mut [T],
    ) {
        let keys = block.key_places();
        let rows = slopes.chunks_exact_mut(keys.len());
        let rows = rows.zip(weights.chunks_exact(keys.len()));
        for (query, (slopes, weights)) in block.query_places().zip(rows) {
            write_score_slopes(weights, slopes);
            if let Some(distances) = self.sizes.distances {
                let of_head = &mut dbias[distances.of_head(block.head)];
                distances.add_slopes((query, &keys), slopes, of_head);
            }
            let scale = T::of(self.sizes.scale);
            slopes.iter_mut().for_each(|slope| *slope *= scale);
        }
    }
}

impl Block {
    /// The places of the queries in the sequence.
    fn query_places(&self) -> Range<usize> {
        self.queries.start - self.tokens.start..self.queries.end - self.tokens.start
    }

    /// The places of the keys in the sequence.
    fn key_places(&self) -> Range<usize> {
        self.keys.start - self.tokens.start..self.keys.end - self.tokens.start
    }
}

impl Attend {
    /// The kernels for these numbers, if there are any.
    fn heads(&self, dtype: DType) -> Option<Heads> {
        match dtype {
            DType::F32 => Heads::new(&self.sizes),
            _ => None,
        }
    }

    fn on_host(
        &self,
        (qkv, layout): (&CpuStorage, &Layout),
        bias: Option<(&CpuStorage, &Layout)>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = match self.heads(qkv.dtype()) {
            Some(heads) => {
                let bias = bias.map(|(bias, layout)| elements::<f32>(bias, layout));
                let qkv = elements::<f32>(qkv, layout)?;
                storage(heads.forward(qkv, bias.transpose()?, &self.sequences)?)
            }
            None => with_float!(qkv.dtype(), T => {
                let bias = bias.map(|(bias, layout)| elements::<T>(bias, layout));
                storage(self.forward(elements::<T>(qkv, layout)?, bias.transpose()?)?)
            }),
        };
        Ok((y, (self.sequences.tokens(), self.sizes.width()).into()))
    }

    /// The gradients with respect to the argument and to the bias.
    fn gradients_on_host(
        &self,
        qkv: &Tensor,
        bias: Option<&Tensor>,
        dy: &Tensor,
    ) -> candle_core::Result<(Tensor, Tensor)> {
        let device = qkv.device();
        let none = Tensor::zeros(0, qkv.dtype(), device)?;
        let has_bias = bias.is_some();
        let bias = bias.unwrap_or(&none);
        let all = [qkv, bias, dy];
        if let Some(heads) = self.heads(qkv.dtype()) {
            let (dqkv, dbias) = with_elements(all, |[qkv, bias, dy]: [&[f32]; 3]| {
                heads.gradients(qkv, has_bias.then_some(bias), dy, &self.sequences)
            })?;
            let dqkv = Tensor::from_vec(dqkv, qkv.shape(), device)?;
            return Ok((dqkv, Tensor::from_vec(dbias, bias.shape(), device)?));
        }
        with_float!(qkv.dtype(), T => {
            let (dqkv, dbias) = with_elements(all, |[qkv, bias, dy]: [&[T]; 3]| {
                self.gradients(qkv, has_bias.then_some(bias), dy)
            })?;
            let dqkv = Tensor::from_vec(dqkv, qkv.shape(), device)?;
            Ok((dqkv, Tensor::from_vec(dbias, bias.shape(), device)?))
        })
    }
}

impl CustomOp1 for Attend {
    fn name(&self) -> &'static str {
        "packed_attention"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.on_host((qkv, layout), None)
    }

    fn bwd(&self, qkv: &Tensor, _y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (dqkv, _) = self.gradients_on_host(qkv, None, dy)?;
        Ok(Some(dqkv))
    }
}

impl CustomOp2 for Attend {
    fn name(&self) -> &'static str {
        "packed_attention_with_bias"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.on_host((qkv, layout), Some((bias, bias_layout)))
    }

    fn bwd(
        &self,
        qkv: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (dqkv, dbias) = self.gradients_on_host(qkv, Some(bias), dy)?;
        Ok((Some(dqkv), Some(dbias)))
    }
}
