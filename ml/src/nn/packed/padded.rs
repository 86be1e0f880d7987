//! The attention of packed sequences by operations that every device has: on a GPU, few products of many equal parts are faster
//! than one for each sequence, so sequences of one group are padded to the longest of them.

use std::ops::Range;

use candle_core::{D, DType, Device, Tensor};

use super::sequences::Sequences;
use super::sizes::{Part, Sizes};
use crate::Result;
use crate::nn::values::is_half;

/// The scores of a group, unless it has one sequence: what they need on the device is some gigabytes at most.
const SCORES_MAX: usize = 1 << 27;

/// The mean value for each token, as in `attention`.
pub(super) fn of_tensors(
    qkv: &Tensor,
    bias: Option<&Tensor>,
    sequences: &Sequences,
    sizes: &Sizes,
) -> Result<Tensor> {
    let means = groups(sequences, sizes.heads)
        .iter()
        .map(|group| of_group(qkv, bias, group, sizes))
        .collect::<Result<Vec<Tensor>>>()?;
    match means.is_empty() {
        true => Ok(qkv.narrow(1, 0, sizes.width())?),
        false => Ok(Tensor::cat(&means, 0)?),
    }
}

/// Sequences that follow each other, none of them empty, with so few scores that they are computed at once.
fn groups(sequences: &Sequences, heads: usize) -> Vec<Vec<Range<usize>>> {
    let mut groups: Vec<Vec<Range<usize>>> = Vec::new();
    let mut longest = 0;
    for tokens in sequences.ranges().filter(|tokens| !tokens.is_empty()) {
        longest = longest.max(tokens.len());
        let of_sequence = heads * longest * longest;
        let fits = |group: &Vec<_>| (group.len() + 1) * of_sequence <= SCORES_MAX;
        if groups.last().is_some_and(fits)
            && let Some(group) = groups.last_mut()
        {
            group.push(tokens);
        } else {
            longest = tokens.len();
            groups.push(vec![tokens]);
        }
    }
    groups
}

/// The means of a group of sequences, which is not empty: `[tokens, width]`.
fn of_group(
    qkv: &Tensor,
    bias: Option<&Tensor>,
    group: &[Range<usize>],
    sizes: &Sizes,
) -> Result<Tensor> {
    let longest = group.iter().map(|tokens| tokens.len()).max().unwrap_or(0);
    let padded = Padded { group, longest };
    let device = qkv.device();
    let (count, heads, width) = (group.len(), sizes.heads, sizes.width());
    let all = qkv
        .contiguous()?
        .index_select(&numbers(padded.tokens(), device)?, 0)?;
    let part = |part: Part| -> Result<Tensor> {
        let columns = all.narrow(1, sizes.column(part, 0), width)?.contiguous()?;
        let of_heads = columns.reshape((count, longest, heads, sizes.head_width))?;
        Ok(of_heads.transpose(1, 2)?.contiguous()?)
    };
    let (query, key, value) = (part(Part::Query)?, part(Part::Key)?, part(Part::Value)?);
    let mut scores = (query.matmul(&key.t()?.contiguous()?)? * sizes.scale)?;
    if is_half(&scores) {
        scores = scores.to_dtype(DType::F32)?;
    }
    if let (Some(bias), Some(distances)) = (bias, sizes.distances) {
        let pairs = (0..longest).flat_map(|query| (0..longest).map(move |key| (query, key)));
        let places = pairs.map(|(query, key)| distances.place(query, key));
        let of_pairs = bias
            .contiguous()?
            .index_select(&numbers(places, device)?, 1)?;
        let of_pairs = of_pairs.reshape((1, heads, longest, longest))?;
        scores = scores.broadcast_add(&of_pairs.to_dtype(scores.dtype())?)?;
    }
    if let Some(hidden) = padded.hidden(sizes) {
        let shape = (count, 1, longest, longest);
        let hidden = Tensor::from_vec(hidden, shape, device)?.to_dtype(scores.dtype())?;
        scores = scores.broadcast_add(&hidden)?;
    }
    let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?;
    let powers = scores.exp()?;
    let weights = powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?;
    let means = weights.to_dtype(value.dtype())?.matmul(&value)?;
    let means = means.transpose(1, 2)?.reshape((count * longest, width))?;
    Ok(means.index_select(&numbers(padded.places(), device)?, 0)?)
}

/// Indices as a tensor.
fn numbers(values: impl Iterator<Item = usize>, device: &Device) -> Result<Tensor> {
    let values: Vec<u32> = values.map(|value| value as u32).collect();
    let count = values.len();
    Ok(Tensor::from_vec(values, count, device)?)
}

/// Sequences of which the shorter ones repeat their last token until they are as long as the longest.
#[derive(Debug, Clone, Copy)]
struct Padded<'a> {
    group: &'a [Range<usize>],
    longest: usize,
}

impl Padded<'_> {
    /// The token at each place.
    fn tokens(self) -> impl Iterator<Item = usize> {
        let places = 0..self.longest;
        self.group.iter().flat_map(move |tokens| {
            let tokens = tokens.clone();
            places
                .clone()
                .map(move |place| tokens.start + place.min(tokens.len() - 1))
        })
    }

    /// The place of each token.
    fn places(self) -> impl Iterator<Item = usize> {
        let rows = self.group.iter().enumerate();
        rows.flat_map(move |(row, tokens)| (0..tokens.len()).map(move |n| row * self.longest + n))
    }

    /// -∞ for each key that a query of its sequence does not see, else 0: `[sequences, queries, keys]`. `None` if all see all.
    fn hidden(self, sizes: &Sizes) -> Option<Vec<f32>> {
        let is_full = self.group.iter().all(|tokens| tokens.len() == self.longest);
        if is_full && !sizes.sight.causal && sizes.sight.window.is_none() {
            return None;
        }
        let mut hidden = Vec::with_capacity(self.group.len() * self.longest * self.longest);
        for tokens in self.group {
            for query in 0..self.longest {
                // A repeated token sees what the last one sees, so that each query sees a key.
                let seen = sizes
                    .sight
                    .of_query(query.min(tokens.len() - 1), tokens.len());
                let of_keys = (0..self.longest).map(|key| match seen.contains(&key) {
                    true => 0.0,
                    false => f32::NEG_INFINITY,
                });
                hidden.extend(of_keys);
            }
        }
        Some(hidden)
    }
}
