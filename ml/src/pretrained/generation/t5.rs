//! [`T5`]: an encoder of the prompt, and a decoder that attends to what the encoder makes of it.
//!
//! ```text
//! prompt ─ encoder ─▶ keys and values for each layer of the decoder ─▶ Cache::across
//! written tokens ─ decoder ─▶ scores of the next token
//! ```
//! Scores of attention have a bias by the distance of the tokens, which the layers of a stack share.
//!
//! Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text transformer", 2020.

use super::attention::{Heads, Query, SelfAttention, attend};
use super::linear::{Linear, LinearSpec};
use super::network::{Cache, KeysAndValues, Network, Piece, last_vectors, packed};
use super::stored::{Matrix, Tensors, add, rms_norm};
use crate::nn::{Pointwise, write_pointwise};
use crate::{Result, stop};

/// What a T5 is made of.
#[derive(Debug)]
pub(super) struct T5Design {
    pub(super) vocabulary: usize,
    /// The numbers of a vector between layers.
    pub(super) width: usize,
    /// The numbers of a vector within a perceptron.
    pub(super) wide: usize,
    pub(super) heads: Heads,
    pub(super) encoder_layers: usize,
    pub(super) decoder_layers: usize,
    /// The most tokens of a prompt, and of what is written.
    pub(super) positions_max: usize,
    /// The numbers that a distance may have.
    pub(super) buckets: usize,
    /// All distances from here on have one number.
    pub(super) distance_max: usize,
    /// Added to a mean square before its root.
    pub(super) epsilon: f32,
    pub(super) activation: Pointwise,
    /// Whether a perceptron multiplies its inner vector by another one.
    pub(super) is_gated: bool,
    /// The factor of vectors before they become scores.
    pub(super) scale: f32,
    /// What the decoder begins with.
    pub(super) first_token: u32,
    /// Whether the matrix of the vectors of tokens gives the scores.
    pub(super) is_tied: bool,
}

/// An encoder and a decoder with their weights.
#[derive(Debug)]
pub(super) struct T5 {
    design: T5Design,
    embedding: Matrix,
    encoder: Stack,
    decoder: Stack,
    head: Linear,
}

#[derive(Debug)]
struct Stack {
    blocks: Vec<Block>,
    last_norm: Vec<f32>,
    distances: Distances,
}

#[derive(Debug)]
struct Block {
    norm: Vec<f32>,
    queries_keys_values: Linear,
    output: Linear,
    across: Option<Across>,
    perceptron: Perceptron,
}

/// Attention to another text.
#[derive(Debug)]
struct Across {
    norm: Vec<f32>,
    queries: Linear,
    keys_values: Linear,
    output: Linear,
}

#[derive(Debug)]
struct Perceptron {
    norm: Vec<f32>,
    inner: Linear,
    output: Linear,
}

/// The bias of scores by the distance from a query to a key.
#[derive(Debug)]
struct Distances {
    /// `[buckets, heads]`
    bias: Vec<f32>,
    heads: usize,
    /// The bucket of each distance up to the greatest.
    buckets: Vec<usize>,
    /// The bucket of distance 0 to keys behind the query.
    behind: usize,
}

impl T5 {
    /// Takes a model of this design from the tensors of a file.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(super) fn take(tensors: &mut Tensors, design: T5Design) -> Result<Self> {
        let shape = [design.vocabulary, design.width];
        let embedding = tensors.matrix("shared.weight", shape)?;
        let encoder = Stack::take(tensors, &design, "encoder")?;
        let decoder = Stack::take(tensors, &design, "decoder")?;
        let head = match design.is_tied {
            true => Linear::of(embedding.clone()),
            false => linear(tensors, design.width, &[("lm_head", design.vocabulary)])?,
        };
        Ok(Self {
            design,
            embedding,
            encoder,
            decoder,
            head,
        })
    }

    fn embed(&self, tokens: &[u32]) -> Vec<f32> {
        let width = self.design.width;
        let mut x = vec![0.0; tokens.len() * width];
        for (token, x) in tokens.iter().zip(x.chunks_exact_mut(width)) {
            self.embedding.write_rows(*token as usize, 1, x);
        }
        x
    }

    fn normal(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut normal = x.to_vec();
        rms_norm(&mut normal, weight, self.design.epsilon);
        normal
    }

    /// What the encoder makes of a prompt: `[tokens, width]`.
    fn encode(&self, prompt: &[u32]) -> Result<Vec<f32>> {
        let heads = &self.design.heads;
        let width = heads.query_width();
        let mut x = self.embed(prompt);
        for block in &self.encoder.blocks {
            stop::check()?;
            let all = block
                .queries_keys_values
                .forward(&self.normal(&x, &block.norm))?;
            let both = split_keys_values(all.chunks_exact(3 * width).map(|all| &all[width..]));
            let mut means = vec![0.0; prompt.len() * width];
            let rows = all
                .chunks_exact(3 * width)
                .zip(means.chunks_exact_mut(width));
            for (position, (all, mean)) in rows.enumerate() {
                stop::check()?;
                let query = Query {
                    query: &all[..width],
                    keys: &both.keys,
                    values: &both.values,
                    bias: &self.encoder.distances.bias(position, prompt.len()),
                };
                attend(query, heads, mean);
            }
            add(&mut x, &block.output.forward(&means)?);
            let narrow = self.perceptron(&block.perceptron, &x)?;
            add(&mut x, &narrow);
        }
        Ok(self.normal(&x, &self.encoder.last_norm))
    }

    fn perceptron(&self, perceptron: &Perceptron, x: &[f32]) -> Result<Vec<f32>> {
        let wide = self.design.wide;
        let inner = perceptron
            .inner
            .forward(&self.normal(x, &perceptron.norm))?;
        let columns = perceptron.inner.outputs();
        let mut active = vec![0.0; inner.len() / columns * wide];
        for (inner, active) in inner
            .chunks_exact(columns)
            .zip(active.chunks_exact_mut(wide))
        {
            let (inner, factors) = inner.split_at(wide);
            write_pointwise(self.design.activation, inner, active);
            // Without gates there are no factors.
            let pairs = active.iter_mut().zip(factors);
            pairs.for_each(|(active, factor)| *active *= factor);
        }
        perceptron.output.forward(&active)
    }

    /// Attention of written tokens to the prompt.
    fn across(
        &self,
        across: &Across,
        number: usize,
        x: &[f32],
        pieces: &[Piece<'_>],
    ) -> Result<Vec<f32>> {
        let heads = &self.design.heads;
        let width = heads.query_width();
        let queries = across.queries.forward(&self.normal(x, &across.norm))?;
        let mut means = vec![0.0; queries.len()];
        let mut rows = queries
            .chunks_exact(width)
            .zip(means.chunks_exact_mut(width));
        for piece in pieces {
            let prompt = &piece.cache.across[number];
            for (query, mean) in rows.by_ref().take(piece.tokens.len()) {
                let query = Query {
                    query,
                    keys: &prompt.keys,
                    values: &prompt.values,
                    bias: &[],
                };
                attend(query, heads, mean);
            }
        }
        across.output.forward(&means)
    }
}

/// The keys and values of a text, whose tokens have one after the other.
fn split_keys_values<'a>(rows: impl Iterator<Item = &'a [f32]>) -> KeysAndValues {
    let mut both = KeysAndValues::default();
    for row in rows {
        let (key, value) = row.split_at(row.len() / 2);
        both.keys.extend_from_slice(key);
        both.values.extend_from_slice(value);
    }
    both
}

impl Network for T5 {
    fn vocabulary(&self) -> usize {
        self.design.vocabulary
    }

    fn positions_max(&self) -> usize {
        self.design.positions_max
    }

    /// The encoder computes all tokens of a prompt at once.
    fn numbers_of_token(&self) -> usize {
        2 * self.decoder.blocks.len() * self.design.heads.key_width() + self.layer_numbers()
    }

    fn layer_numbers(&self) -> usize {
        let of_attention = 6 * self.design.heads.query_width();
        3 * self.design.width + of_attention.max(3 * self.design.wide)
    }

    fn begin(&self, prompt: &[u32], written_max: usize) -> Result<(Vec<u32>, Cache)> {
        let encoded = self.encode(prompt)?;
        let numbers = (1 + written_max) * self.design.heads.key_width();
        let mut cache = Cache::new(self.decoder.blocks.len(), numbers);
        for across in self
            .decoder
            .blocks
            .iter()
            .filter_map(|block| block.across.as_ref())
        {
            let both = across.keys_values.forward(&encoded)?;
            let rows = both.chunks_exact(across.keys_values.outputs());
            cache.across.push(split_keys_values(rows));
        }
        Ok((vec![self.design.first_token], cache))
    }

    fn forward(&self, pieces: &mut [Piece<'_>]) -> Result<Vec<f32>> {
        let (tokens, _) = packed(pieces);
        let mut x = self.embed(&tokens);
        for (number, block) in self.decoder.blocks.iter().enumerate() {
            stop::check()?;
            let all = block
                .queries_keys_values
                .forward(&self.normal(&x, &block.norm))?;
            let attention = SelfAttention {
                heads: &self.design.heads,
                layer: number,
                window: None,
            };
            let bias = |position| self.decoder.distances.bias(position, position + 1);
            let means = attention.forward(&all, pieces, bias)?;
            add(&mut x, &block.output.forward(&means)?);
            if let Some(across) = &block.across {
                let attended = self.across(across, number, &x, pieces)?;
                add(&mut x, &attended);
            }
            let narrow = self.perceptron(&block.perceptron, &x)?;
            add(&mut x, &narrow);
        }
        for piece in pieces.iter_mut() {
            piece.cache.tokens += piece.tokens.len();
        }
        let last = last_vectors(pieces, &x, self.design.width);
        let mut last = self.normal(&last, &self.decoder.last_norm);
        last.iter_mut().for_each(|x| *x *= self.design.scale);
        self.head.forward(&last)
    }
}

impl Stack {
    fn take(tensors: &mut Tensors, design: &T5Design, stack: &str) -> Result<Self> {
        let is_decoder = stack == "decoder";
        let layers = match is_decoder {
            true => design.decoder_layers,
            false => design.encoder_layers,
        };
        let name = format!("{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
        let heads = design.heads.queries;
        let bias = tensors.matrix(&name, [design.buckets, heads])?;
        let mut numbers = vec![0.0; design.buckets * heads];
        bias.write_rows(0, design.buckets, &mut numbers);
        let mut blocks = vec![];
        for number in 0..layers {
            let block = format!("{stack}.block.{number}.layer.");
            blocks.push(Block::take(tensors, design, &block, is_decoder)?);
        }
        let last_norm = format!("{stack}.final_layer_norm.weight");
        Ok(Self {
            blocks,
            last_norm: tensors.vector(&last_norm, design.width)?,
            distances: Distances::new(numbers, design, is_decoder),
        })
    }
}

impl Block {
    fn take(
        tensors: &mut Tensors,
        design: &T5Design,
        block: &str,
        is_decoder: bool,
    ) -> Result<Self> {
        let (width, wide, inner) = (design.width, design.wide, design.heads.query_width());
        let of_self = |part: &str| format!("{block}0.SelfAttention.{part}");
        let [query, key, value, output] = ["q", "k", "v", "o"].map(of_self);
        let all = [
            (query.as_str(), inner),
            (key.as_str(), inner),
            (value.as_str(), inner),
        ];
        let across = match is_decoder {
            true => Some(Across::take(tensors, design, &format!("{block}1."))?),
            false => None,
        };
        let perceptron = format!("{block}{}.", if is_decoder { 2 } else { 1 });
        let part = |part: &str| format!("{perceptron}DenseReluDense.{part}");
        let [only, first, second, narrow] = ["wi", "wi_0", "wi_1", "wo"].map(part);
        let inner_layers = match design.is_gated {
            true => linear(
                tensors,
                width,
                &[(first.as_str(), wide), (second.as_str(), wide)],
            )?,
            false => linear(tensors, width, &[(only.as_str(), wide)])?,
        };
        Ok(Self {
            norm: tensors.vector(&format!("{block}0.layer_norm.weight"), width)?,
            queries_keys_values: linear(tensors, width, &all)?,
            output: linear(tensors, inner, &[(output.as_str(), width)])?,
            across,
            perceptron: Perceptron {
                norm: tensors.vector(&format!("{perceptron}layer_norm.weight"), width)?,
                inner: inner_layers,
                output: linear(tensors, wide, &[(narrow.as_str(), width)])?,
            },
        })
    }
}

impl Across {
    fn take(tensors: &mut Tensors, design: &T5Design, layer: &str) -> Result<Self> {
        let (width, inner) = (design.width, design.heads.query_width());
        let part = |part: &str| format!("{layer}EncDecAttention.{part}");
        let [query, key, value, output] = ["q", "k", "v", "o"].map(part);
        Ok(Self {
            norm: tensors.vector(&format!("{layer}layer_norm.weight"), width)?,
            queries: linear(tensors, width, &[(query.as_str(), inner)])?,
            keys_values: linear(
                tensors,
                width,
                &[(key.as_str(), inner), (value.as_str(), inner)],
            )?,
            output: linear(tensors, inner, &[(output.as_str(), width)])?,
        })
    }
}

/// Layers without a bias, whose outputs lie beside each other.
fn linear(tensors: &mut Tensors, inputs: usize, layers: &[(&str, usize)]) -> Result<Linear> {
    let specs = layers.iter().map(|(name, outputs)| LinearSpec {
        name,
        outputs: *outputs,
        has_bias: false,
    });
    Linear::take(tensors, inputs, &specs.collect::<Vec<_>>())
}

impl Distances {
    /// A query of a decoder sees no keys behind it, so that it has all buckets for those before it.
    fn new(bias: Vec<f32>, design: &T5Design, is_decoder: bool) -> Self {
        let (buckets, behind) = match is_decoder {
            true => (design.buckets, 0),
            false => (design.buckets / 2, design.buckets / 2),
        };
        let of_distance = |distance| bucket(distance, buckets, design.distance_max);
        Self {
            bias,
            heads: design.heads.queries,
            buckets: (0..=design.distance_max).map(of_distance).collect(),
            behind,
        }
    }

    /// What is added to the scores of the query at a position, `[heads, keys]`.
    fn bias(&self, position: usize, keys: usize) -> Vec<f32> {
        let last = self.buckets.len() - 1;
        let buckets = (0..keys).map(|key| {
            let bucket = self.buckets[key.abs_diff(position).min(last)];
            if key > position {
                bucket + self.behind
            } else {
                bucket
            }
        });
        let buckets: Vec<usize> = buckets.collect();
        let of_head = |head: usize| {
            let bias = &self.bias;
            let heads = self.heads;
            buckets
                .iter()
                .map(move |bucket| bias[bucket * heads + head])
        };
        (0..self.heads).flat_map(of_head).collect()
    }
}

/// The number of a distance: small ones have one each, large ones share them by their logarithm. In f32, as in other programs.
fn bucket(distance: usize, buckets: usize, distance_max: usize) -> usize {
    let exact = buckets / 2;
    if distance < exact {
        return distance;
    }
    let ratio = distance as f32 / exact as f32;
    let of_all = (distance_max as f64 / exact as f64).ln() as f32;
    let shared = ratio.ln() / of_all * (buckets - exact) as f32;
    (exact + shared as usize).min(buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `T5Attention._relative_position_bucket` of transformers 5.24.
    #[test]
    fn distances_share_buckets() {
        let found = |buckets, distances: &[usize]| -> Vec<usize> {
            let of = |distance: &usize| bucket(*distance, buckets, 128);
            distances.iter().map(of).collect()
        };
        let distances = [0, 1, 7, 8, 11, 12, 16, 31, 32, 64, 127, 128];
        let sixteen = [0, 1, 7, 8, 8, 9, 10, 11, 12, 14, 15, 15];
        assert_eq!(found(16, &distances), sixteen);
        let thirty_two = [0, 1, 7, 8, 11, 12, 16, 21, 21, 26, 31, 31];
        assert_eq!(found(32, &distances), thirty_two);
    }
}
