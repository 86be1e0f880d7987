//! Attention of one query after the other to keys in a cache.
//!
//! A head of queries shares its keys and values with its neighbours (grouped queries). The scores of a query are computed one after
//! the other, so that they are the same beside any other query.

use super::network::Piece;
use super::stored::dot;
use crate::simd::simd_fn;
use crate::{Result, stop};

/// How queries attend to keys.
#[derive(Debug, Clone)]
pub(super) struct Heads {
    /// The heads of a query.
    pub(super) queries: usize,
    /// The heads of a key, each for as many heads of a query.
    pub(super) keys: usize,
    /// The numbers of a head.
    pub(super) width: usize,
    /// The factor of scores.
    pub(super) scale: f32,
    /// The bound of scores: c tanh (score / c).
    pub(super) cap: Option<f32>,
}

/// A query and what it sees.
#[derive(Debug)]
pub(super) struct Query<'a> {
    /// The query `[heads, width]`.
    pub(super) query: &'a [f32],
    /// The keys that it sees, `[keys, heads of a key, width]`.
    pub(super) keys: &'a [f32],
    /// Their values.
    pub(super) values: &'a [f32],
    /// What is added to scores, `[heads, keys]`; empty for nothing.
    pub(super) bias: &'a [f32],
}

impl Heads {
    /// The numbers of a query.
    pub(super) fn query_width(&self) -> usize {
        self.queries * self.width
    }

    /// The numbers of a key.
    pub(super) fn key_width(&self) -> usize {
        self.keys * self.width
    }
}

/// Attention of each token of a text to itself and to those before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct SelfAttention<'a> {
    pub(super) heads: &'a Heads,
    /// The number of the layer.
    pub(super) layer: usize,
    /// The tokens that a token sees, itself among them; all before it if `None`.
    pub(super) window: Option<usize>,
}

impl SelfAttention<'_> {
    /// The mean values `[tokens, heads, width]` for the queries in `all` `[tokens, queries + keys + values]`, whose keys and values
    /// join the caches. `bias` gives what is added to the scores of the token at a position, `[heads, tokens up to it]`, or nothing.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    pub(super) fn forward(
        &self,
        all: &[f32],
        pieces: &mut [Piece<'_>],
        bias: impl Fn(usize) -> Vec<f32>,
    ) -> Result<Vec<f32>> {
        let (queries, keys) = (self.heads.query_width(), self.heads.key_width());
        let columns = queries + 2 * keys;
        let mut means = vec![0.0; all.len() / columns * queries];
        let mut rows = all
            .chunks_exact(columns)
            .zip(means.chunks_exact_mut(queries));
        for piece in pieces {
            let before = piece.cache.tokens;
            let cache = &mut piece.cache.layers[self.layer];
            let rows = rows.by_ref().take(piece.tokens.len());
            for (position, (all, mean)) in (before..).zip(rows) {
                // Behind a long text a piece takes minutes.
                stop::check()?;
                cache.keys.extend_from_slice(&all[queries..queries + keys]);
                cache.values.extend_from_slice(&all[queries + keys..]);
                let seen = self.window.unwrap_or(usize::MAX).min(position + 1);
                let first = (position + 1 - seen) * keys;
                let query = Query {
                    query: &all[..queries],
                    keys: &cache.keys[first..],
                    values: &cache.values[first..],
                    bias: &bias(position),
                };
                attend(query, self.heads, mean);
            }
        }
        Ok(means)
    }
}

simd_fn! {
    /// Writes the mean of the values, weighted by how well their keys fit the query, to `means` `[heads, width]`.
    pub(super) fn attend<'a>(query: Query<'a>, heads: &'a Heads, means: &'a mut [f32]) {
        let (width, key_width) = (heads.width, heads.keys * heads.width);
        let shared = heads.queries / heads.keys;
        let count = query.keys.len() / key_width;
        let mut weights = vec![0.0f32; count];
        let of_heads = query.query.chunks_exact(width).zip(means.chunks_exact_mut(width));
        for (head, (part, mean)) in of_heads.enumerate() {
            let first = head / shared * width;
            let keys = query.keys.chunks_exact(key_width);
            for (weight, key) in weights.iter_mut().zip(keys) {
                *weight = dot(part, &key[first..first + width]) * heads.scale;
            }
            if let Some(cap) = heads.cap {
                weights.iter_mut().for_each(|weight| *weight = (*weight / cap).tanh() * cap);
            }
            if !query.bias.is_empty() {
                let bias = &query.bias[head * count..][..count];
                weights.iter_mut().zip(bias).for_each(|(weight, bias)| *weight += bias);
            }
            softmax(&mut weights);
            mean.fill(0.0);
            let values = query.values.chunks_exact(key_width);
            for (weight, value) in weights.iter().zip(values) {
                let value = &value[first..first + width];
                mean.iter_mut().zip(value).for_each(|(mean, value)| *mean += weight * value);
            }
        }
    }
}

/// Powers of e that sum up to 1.
#[inline(always)]
fn softmax(scores: &mut [f32]) {
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - greatest).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

#[cfg(test)]
mod tests {
    use super::super::network::Cache;
    use super::*;
    use crate::Error;
    use crate::stop::Stop;

    #[test]
    fn attention_ends_when_it_is_asked_to() {
        let heads = Heads {
            queries: 1,
            keys: 1,
            width: 1,
            scale: 1.0,
            cap: None,
        };
        let attention = SelfAttention {
            heads: &heads,
            layer: 0,
            window: None,
        };
        let mut cache = Cache::new(1, 1);
        let mut means = || {
            let piece = Piece {
                tokens: &[0],
                cache: &mut cache,
                is_last: true,
            };
            attention.forward(&[1.0, 1.0, 3.0], &mut [piece], |_| vec![])
        };
        let stop = Stop::default();
        assert_eq!(stop.watch(&mut means).unwrap(), [3.0]);
        stop.ask();
        assert!(matches!(stop.watch(&mut means), Err(Error::Cancelled)));
    }

    #[test]
    fn heads_share_keys_and_scores_are_scaled_capped_and_biased() {
        let heads = Heads {
            queries: 2,
            keys: 1,
            width: 2,
            scale: 0.5,
            cap: Some(1.0),
        };
        let mut means = [9.0; 4];
        let query = Query {
            query: &[2.0, 0.0, 0.0, 4.0],
            keys: &[1.0, 0.0, 0.0, 1.0],
            values: &[1.0, 10.0, 3.0, 30.0],
            bias: &[0.0, 0.0, 0.0, 1.0],
        };
        attend(query, &heads, &mut means);
        // By hand: scores tanh(1), 0 of the first head; 0, tanh(2) + 1 of the second.
        for (head, scores) in [[1f64.tanh(), 0.0], [0.0, 2f64.tanh() + 1.0]]
            .iter()
            .enumerate()
        {
            let powers = scores.map(f64::exp);
            let share = powers[1] / (powers[0] + powers[1]);
            let expected = [1.0 + 2.0 * share, 10.0 + 20.0 * share];
            for (found, expected) in means[head * 2..].iter().zip(expected) {
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-5,
                    "{found}, {expected}"
                );
            }
        }
        assert_eq!((heads.query_width(), heads.key_width()), (4, 2));
    }
}
