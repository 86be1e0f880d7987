//! [`Disentangled`]: attention in which contents and distances have vectors of their own, as in DeBERTa.
//!
//! ```text
//! score = (Q Kᵀ + Q distance_keysᵀ [by distance] + K distance_queriesᵀ [by distance]) / √(width · terms)
//! ```
//! He et al., "DeBERTa: Decoding-enhanced BERT with disentangled attention", 2021.

use std::ops::Range;

use candle_core::{D, Tensor};

use super::layers::{Dense, take_norm};
use super::spec::{ConvolutionSpec, DisentangledSpec, EncoderSpec};
use super::tensors::{Tensors, Wanted};
use crate::nn::{Sequences, pointwise};
use crate::pretrained::layers::LayerNorm;
use crate::{Result, stop};

/// What all layers know of distances.
#[derive(Debug)]
pub(crate) struct Distances {
    spec: DisentangledSpec,
    /// A vector for each distance: `[2 * span, width]`.
    vectors: Tensor,
    heads: usize,
    convolution: Option<TokenConvolution>,
}

impl Distances {
    /// Takes the vectors of distances, and the convolution beside the first layer.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(crate) fn take(
        tensors: &mut dyn Tensors,
        encoder: &EncoderSpec,
        spec: &DisentangledSpec,
        base: &str,
    ) -> Result<Self> {
        let width = encoder.sizes.width;
        let name = format!("{base}encoder.rel_embeddings.weight");
        let vectors = tensors.take(&Wanted::stored(name, &[2 * spec.span, width]))?;
        let norm = encoder.norm_of(width);
        let vectors = match spec.is_normal {
            true => {
                let name = format!("{base}encoder.LayerNorm");
                take_norm(tensors, &name, norm)?.forward(&vectors)?
            }
            false => vectors,
        };
        let base = format!("{base}encoder.conv.");
        let convolution = match spec.convolution {
            Some(of) => Some(TokenConvolution::take(tensors, of, norm, &base)?),
            None => None,
        };
        Ok(Self {
            spec: *spec,
            vectors,
            heads: encoder.sizes.heads,
            convolution,
        })
    }

    /// The vectors `[tokens, width]` after the first layer and the convolution beside it.
    pub(crate) fn after_first(
        &self,
        before: &Tensor,
        after: Tensor,
        sequences: &Sequences,
    ) -> Result<Tensor> {
        match &self.convolution {
            Some(layer) => layer.forward(before, &after, sequences),
            None => Ok(after),
        }
    }
}

/// A convolution over the tokens of each text, whose output is added to that of the first layer.
#[derive(Debug)]
struct TokenConvolution {
    spec: ConvolutionSpec,
    /// `[width, width / groups, kernel]`
    weight: Tensor,
    /// `[1, width, 1]`
    bias: Tensor,
    norm: LayerNorm,
}

impl TokenConvolution {
    fn take(
        tensors: &mut dyn Tensors,
        spec: ConvolutionSpec,
        norm: (usize, f64, bool),
        base: &str,
    ) -> Result<Self> {
        let width = norm.0;
        let shape = [width, width / spec.groups, spec.kernel];
        let bias = tensors.take(&Wanted::stored(format!("{base}conv.bias"), &[width]))?;
        Ok(Self {
            spec,
            weight: tensors.take(&Wanted::stored(format!("{base}conv.weight"), &shape))?,
            bias: bias.reshape((1, width, 1))?,
            norm: take_norm(tensors, &format!("{base}LayerNorm"), norm)?,
        })
    }

    fn forward(&self, before: &Tensor, after: &Tensor, sequences: &Sequences) -> Result<Tensor> {
        let mut outputs = vec![];
        for range in sequences.ranges().filter(|range| !range.is_empty()) {
            stop::check()?;
            let x = before.narrow(0, range.start, range.len())?;
            let x = x.t()?.contiguous()?.unsqueeze(0)?;
            let padding = self.spec.kernel / 2;
            let y = x.conv1d(&self.weight, padding, 1, 1, self.spec.groups)?;
            let y = y.broadcast_add(&self.bias)?.squeeze(0)?;
            outputs.push(y.t()?.contiguous()?);
        }
        if outputs.is_empty() {
            return Ok(after.clone());
        }
        let active = pointwise(self.spec.activation, &Tensor::cat(&outputs, 0)?)?;
        self.norm.forward(&(active + after)?)
    }
}

/// Attention by contents and distances.
#[derive(Debug)]
pub(crate) struct Disentangled {
    spec: DisentangledSpec,
    heads: usize,
    /// The keys of distances, which queries of tokens find: `[heads, 2 * span, head width]`.
    keys: Option<Tensor>,
    /// The queries of distances, which find keys of tokens: `[heads, 2 * span, head width]`.
    queries: Option<Tensor>,
}

impl Disentangled {
    /// The attention of a layer with these queries, keys and values, whose names begin with `base`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(crate) fn take(
        tensors: &mut dyn Tensors,
        distances: &Distances,
        projections: &Dense,
        base: &str,
    ) -> Result<Self> {
        let (spec, vectors) = (distances.spec, &distances.vectors);
        let width = vectors.dim(1)?;
        let mut of_distances = |wanted: bool, own: &str, shared: usize| -> Result<Option<Tensor>> {
            if !wanted {
                return Ok(None);
            }
            let layer = match spec.is_shared {
                true => projections.part(shared * width, width)?,
                false => {
                    let name = format!("{base}attention.self.{own}");
                    Dense::take(tensors, &[name], [width; 2], true)?
                }
            };
            by_head(&layer.forward(vectors)?, distances.heads).map(Some)
        };
        Ok(Self {
            spec,
            heads: distances.heads,
            queries: of_distances(spec.has_queries, "pos_query_proj", 0)?,
            keys: of_distances(spec.has_keys, "pos_key_proj", 1)?,
        })
    }

    /// The means of values `[tokens, width]` for queries, keys and values `[tokens, 3 * width]`.
    pub(crate) fn forward(&self, qkv: &Tensor, sequences: &Sequences) -> Result<Tensor> {
        let mut means = vec![];
        for range in sequences.ranges().filter(|range| !range.is_empty()) {
            stop::check()?;
            means.push(self.of_text(&qkv.narrow(0, range.start, range.len())?)?);
        }
        match means.is_empty() {
            true => Ok(qkv.narrow(1, 0, qkv.dim(1)? / 3)?.contiguous()?),
            false => Ok(Tensor::cat(&means, 0)?),
        }
    }

    fn of_text(&self, qkv: &Tensor) -> Result<Tensor> {
        let (tokens, width) = (qkv.dim(0)?, qkv.dim(1)? / 3);
        let part = |part: usize| by_head(&qkv.narrow(1, part * width, width)?, self.heads);
        let (query, key, value) = (part(0)?, part(1)?, part(2)?);
        let mut scores = query.matmul(&key.t()?.contiguous()?)?;
        let far = tokens as i64 - 1;
        let rows = self.spec.row(-far)..self.spec.row(far) + 1;
        let row = |query: usize, key: usize| self.spec.row(query as i64 - key as i64) - rows.start;
        if let Some(keys) = &self.keys {
            let of_queries = scores_by(&query, keys, &rows, &row)?;
            scores = (scores + of_queries)?;
        }
        if let Some(queries) = &self.queries {
            let of_keys = scores_by(&key, queries, &rows, &|key, query| row(query, key))?;
            scores = (scores + of_keys.transpose(1, 2)?)?;
        }
        let terms = 1 + usize::from(self.spec.has_keys) + usize::from(self.spec.has_queries);
        let scale = 1.0 / (((width / self.heads) * terms) as f64).sqrt();
        let scores = (scores * scale)?;
        let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?;
        let powers = scores.exp()?;
        let weights = powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?;
        let means = weights.matmul(&value)?.transpose(0, 1)?.contiguous()?;
        Ok(means.reshape((tokens, width))?)
    }
}

/// The products of `x` `[heads, tokens, width]` with the vectors of distances `[heads, distances, width]`, of which each pair of tokens
/// takes the one that `row` says: `[heads, tokens, tokens]`. Only the vectors in `rows` are needed, from which `row` counts.
fn scores_by(
    x: &Tensor,
    vectors: &Tensor,
    rows: &Range<usize>,
    row: &dyn Fn(usize, usize) -> usize,
) -> Result<Tensor> {
    let (heads, tokens, _) = x.dims3()?;
    let vectors = vectors.narrow(1, rows.start, rows.len())?;
    let all = x.matmul(&vectors.t()?.contiguous()?)?;
    let pairs = (0..tokens).flat_map(|one| (0..tokens).map(move |other| row(one, other) as u32));
    let wanted = Tensor::from_vec(pairs.collect::<Vec<u32>>(), (1, tokens, tokens), x.device())?;
    let wanted = wanted.broadcast_as((heads, tokens, tokens))?.contiguous()?;
    Ok(all.gather(&wanted, 2)?)
}

/// Vectors `[rows, width]` as `[heads, rows, head width]`.
fn by_head(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let x = x.contiguous()?.reshape((rows, heads, width / heads))?;
    Ok(x.transpose(0, 1)?.contiguous()?)
}

impl DisentangledSpec {
    /// The vector of a distance: the position of a query less that of its key.
    fn row(&self, distance: i64) -> usize {
        let far = distance.unsigned_abs() as usize;
        let far = match self.buckets {
            Some([buckets, distance_max]) => bucket(far, buckets / 2, distance_max),
            None => far,
        };
        match distance < 0 {
            true => self.span.saturating_sub(far),
            false => (self.span + far).min(2 * self.span - 1),
        }
    }
}

/// The bucket of a distance: its own for those up to `alone`; those of farther distances grow, and `distance_max` has the last one.
fn bucket(far: usize, alone: usize, distance_max: usize) -> usize {
    if far <= alone {
        return far;
    }
    let part = |far: usize| (far as f64 / alone as f64).ln();
    let further = part(far) / part(distance_max - 1) * (alone - 1) as f64;
    // What is a whole number must not be a little more than it.
    alone + (further - 1e-9).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_transformers() {
        // `make_log_bucket_position` of transformers 5.24.
        for (far, buckets, distance_max, expected) in [
            (0, 256, 512, 0),
            (127, 256, 512, 127),
            (128, 256, 512, 128),
            (129, 256, 512, 129),
            (200, 256, 512, 169),
            (511, 256, 512, 255),
            (512, 256, 512, 256),
            (700, 256, 512, 284),
            (3, 8, 32, 3),
            (4, 8, 32, 4),
            (5, 8, 32, 5),
            (9, 8, 32, 6),
            (31, 8, 32, 7),
            (40, 8, 32, 8),
        ] {
            let found = bucket(far, buckets / 2, distance_max);
            assert_eq!(found, expected, "{far}, {buckets}, {distance_max}");
        }
    }
}
