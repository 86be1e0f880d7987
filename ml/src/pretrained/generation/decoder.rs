//! [`Decoder`]: a network that predicts the next token from those before it. One code for all families; [`Design`] holds what differs.
//!
//! ```text
//! x = vectors of tokens
//! x = x + output (attention (turned queries, turned keys, values of norm (x)))     for each layer
//! x = x + down (activation (gate (norm (x))) * up (norm (x)))
//! scores = head (norm (x))
//! ```
//! The tokens of all texts go through linear layers together; each text attends to itself, in its cache.

use super::attention::SelfAttention;
use super::design::{Design, LayerDesign, Names};
use super::linear::{Linear, LinearSpec};
use super::network::{Cache, Network, Piece, last_vectors, packed};
use super::rope::Turns;
use super::stored::{Matrix, Tensors, add, rms_norm};
use crate::nn::write_pointwise;
use crate::{Result, stop};

/// A decoder with its weights.
#[derive(Debug)]
pub(super) struct Decoder {
    design: Design,
    embedding: Matrix,
    layers: Vec<Layer>,
    last_norm: Vec<f32>,
    head: Linear,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,
    queries_keys_values: Linear,
    head_norms: Option<[Vec<f32>; 2]>,
    output: Linear,
    after_attention: Option<Vec<f32>>,
    perceptron_norm: Vec<f32>,
    gate_and_up: Linear,
    down: Linear,
    after_perceptron: Option<Vec<f32>>,
}

impl Decoder {
    /// Takes a decoder of this design from the tensors of a file.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(super) fn take(tensors: &mut Tensors, design: Design, names: &Names) -> Result<Self> {
        let embedding = format!("{}.weight", names.embedding);
        let embedding = tensors.matrix(&embedding, [design.vocabulary, design.width])?;
        let numbers = 0..design.layers.len();
        let layers = numbers.map(|number| Layer::take(tensors, &design, names, number));
        let layers = layers.collect::<Result<Vec<Layer>>>()?;
        let last_norm = norm(tensors, &design, names.last_norm, design.width)?;
        let head = match design.parts.tied {
            true => Linear::of(embedding.clone()),
            false => {
                let spec = LinearSpec {
                    name: names.head,
                    outputs: design.vocabulary,
                    has_bias: false,
                };
                Linear::take(tensors, design.width, &[spec])?
            }
        };
        Ok(Self {
            design,
            embedding,
            layers,
            last_norm,
            head,
        })
    }

    /// Whether a text of so many tokens has turns of its own.
    fn is_long(&self, tokens: usize) -> bool {
        self.design.ropes.iter().any(|rope| rope.is_long(tokens))
    }

    /// The vectors of tokens.
    fn embed(&self, tokens: &[u32]) -> Vec<f32> {
        let (width, scale) = (self.design.width, self.design.embedding_scale);
        let mut x = vec![0.0; tokens.len() * width];
        for (token, x) in tokens.iter().zip(x.chunks_exact_mut(width)) {
            self.embedding.write_rows(*token as usize, 1, x);
            x.iter_mut().for_each(|x| *x *= scale);
        }
        x
    }

    /// The turns of each token, by the turns that layers have.
    fn turns(&self, pieces: &[Piece<'_>], positions: &[usize]) -> Vec<Vec<Turns>> {
        let lengths = pieces.iter().map(|piece| piece.tokens.len());
        let is_long = pieces.iter().map(|piece| piece.cache.is_long);
        let is_long: Vec<bool> = lengths
            .zip(is_long)
            .flat_map(|(length, is_long)| std::iter::repeat_n(is_long, length))
            .collect();
        let of_rope = self.design.ropes.iter().map(|rope| {
            let tokens = positions.iter().zip(&is_long);
            tokens
                .map(|(position, is_long)| rope.turns(*position, *is_long))
                .collect::<Vec<Turns>>()
        });
        of_rope.collect()
    }

    /// Adds what a layer makes of `x` `[tokens, width]`.
    fn layer(
        &self,
        number: usize,
        x: &mut [f32],
        turns: &[Vec<Turns>],
        pieces: &mut [Piece<'_>],
    ) -> Result<()> {
        let (layer, epsilon) = (&self.layers[number], self.design.epsilon);
        let how = self.design.layers[number];
        let mut normal = x.to_vec();
        rms_norm(&mut normal, &layer.attention_norm, epsilon);
        let mut all = layer.queries_keys_values.forward(&normal)?;
        self.turn(layer, &mut all, how, &turns[how.rope]);
        let attention = SelfAttention {
            heads: &self.design.heads,
            layer: number,
            window: how.window,
        };
        let means = attention.forward(&all, pieces, |_| vec![])?;
        let mut attended = layer.output.forward(&means)?;
        if let Some(weight) = &layer.after_attention {
            rms_norm(&mut attended, weight, epsilon);
        }
        add(x, &attended);
        let mut narrow = self.perceptron(layer, x)?;
        if let Some(weight) = &layer.after_perceptron {
            rms_norm(&mut narrow, weight, epsilon);
        }
        add(x, &narrow);
        Ok(())
    }

    /// Normalises and turns the queries and keys among `all` `[tokens, queries + keys + values]`.
    fn turn(&self, layer: &Layer, all: &mut [f32], how: LayerDesign, turns: &[Turns]) {
        let heads = &self.design.heads;
        let rope = &self.design.ropes[how.rope];
        let (queries, keys) = (heads.query_width(), heads.key_width());
        for (all, turns) in all.chunks_exact_mut(queries + 2 * keys).zip(turns) {
            let (query, rest) = all.split_at_mut(queries);
            let parts = [query, &mut rest[..keys]];
            for (number, part) in parts.into_iter().enumerate() {
                if let Some(norms) = &layer.head_norms {
                    rms_norm(part, &norms[number], self.design.epsilon);
                }
                for head in part.chunks_exact_mut(heads.width) {
                    rope.turn(head, turns);
                }
            }
        }
    }

    fn perceptron(&self, layer: &Layer, x: &[f32]) -> Result<Vec<f32>> {
        let wide = self.design.wide;
        let mut normal = x.to_vec();
        rms_norm(&mut normal, &layer.perceptron_norm, self.design.epsilon);
        let both = layer.gate_and_up.forward(&normal)?;
        let mut inner = vec![0.0; both.len() / 2];
        for (both, inner) in both
            .chunks_exact(2 * wide)
            .zip(inner.chunks_exact_mut(wide))
        {
            let (gate, up) = both.split_at(wide);
            write_pointwise(self.design.activation, gate, inner);
            inner
                .iter_mut()
                .zip(up)
                .for_each(|(inner, up)| *inner *= up);
        }
        layer.down.forward(&inner)
    }
}

impl Network for Decoder {
    fn vocabulary(&self) -> usize {
        self.design.vocabulary
    }

    fn positions_max(&self) -> usize {
        self.design.positions_max
    }

    fn numbers_of_token(&self) -> usize {
        2 * self.layers.len() * self.design.heads.key_width()
    }

    fn layer_numbers(&self) -> usize {
        let heads = &self.design.heads;
        let of_attention = 2 * heads.query_width() + 2 * heads.key_width();
        3 * self.design.width + of_attention.max(3 * self.design.wide)
    }

    fn begin(&self, prompt: &[u32], written_max: usize) -> Result<(Vec<u32>, Cache)> {
        let tokens = (prompt.len() + written_max).min(self.design.positions_max);
        let numbers = tokens * self.design.heads.key_width();
        let mut cache = Cache::new(self.layers.len(), numbers);
        cache.is_long = self.is_long(prompt.len());
        Ok((prompt.to_vec(), cache))
    }

    fn is_stale(&self, cache: &Cache, tokens: usize) -> bool {
        self.is_long(tokens) != cache.is_long
    }

    fn forward(&self, pieces: &mut [Piece<'_>]) -> Result<Vec<f32>> {
        let (tokens, positions) = packed(pieces);
        let turns = self.turns(pieces, &positions);
        let mut x = self.embed(&tokens);
        for number in 0..self.layers.len() {
            stop::check()?;
            self.layer(number, &mut x, &turns, pieces)?;
        }
        for piece in pieces.iter_mut() {
            piece.cache.tokens += piece.tokens.len();
        }
        let mut last = last_vectors(pieces, &x, self.design.width);
        rms_norm(&mut last, &self.last_norm, self.design.epsilon);
        let mut scores = self.head.forward(&last)?;
        if let Some(cap) = self.design.cap {
            scores
                .iter_mut()
                .for_each(|score| *score = (*score / cap).tanh() * cap);
        }
        Ok(scores)
    }
}

impl Layer {
    fn take(tensors: &mut Tensors, design: &Design, names: &Names, number: usize) -> Result<Self> {
        let (width, wide, parts) = (design.width, design.wide, design.parts);
        let name = |name: &str| format!("{}{number}.{name}", names.layer);
        let norm = |tensors: &mut Tensors, part: &str, width: usize| {
            norm(tensors, design, &name(part), width)
        };
        let outer_norm = |tensors: &mut Tensors, part: &str| -> Result<Option<Vec<f32>>> {
            match parts.outer_norms {
                true => norm(tensors, part, width).map(Some),
                false => Ok(None),
            }
        };
        let (queries, keys) = (design.heads.query_width(), design.heads.key_width());
        let (fused, several) = (
            (names.queries_keys_values, queries + 2 * keys),
            [
                (names.query, queries),
                (names.key, keys),
                (names.value, keys),
            ],
        );
        let linear = |tensors: &mut Tensors, inputs, specs: &[(&str, usize)], has_bias| {
            let layers: Vec<String> = specs.iter().map(|(part, _)| name(part)).collect();
            let specs = layers
                .iter()
                .zip(specs)
                .map(|(name, (_, outputs))| LinearSpec {
                    name,
                    outputs: *outputs,
                    has_bias,
                });
            Linear::take(tensors, inputs, &specs.collect::<Vec<_>>())
        };
        let gates = [(names.gate, wide), (names.up, wide)];
        let gate_and_up = [(names.gate_and_up, 2 * wide)];
        Ok(Self {
            attention_norm: norm(tensors, names.attention_norm, width)?,
            queries_keys_values: match parts.fused {
                true => linear(tensors, width, &[fused], parts.query_bias)?,
                false => linear(tensors, width, &several, parts.query_bias)?,
            },
            head_norms: match parts.head_norms {
                true => {
                    let width = design.heads.width;
                    let query = norm(tensors, names.query_norm, width)?;
                    Some([query, norm(tensors, names.key_norm, width)?])
                }
                false => None,
            },
            output: linear(
                tensors,
                queries,
                &[(names.output, width)],
                parts.output_bias,
            )?,
            after_attention: outer_norm(tensors, names.after_attention_norm)?,
            perceptron_norm: norm(tensors, names.perceptron_norm, width)?,
            gate_and_up: match parts.fused {
                true => linear(tensors, width, &gate_and_up, parts.perceptron_bias)?,
                false => linear(tensors, width, &gates, parts.perceptron_bias)?,
            },
            down: linear(tensors, wide, &[(names.down, width)], parts.perceptron_bias)?,
            after_perceptron: outer_norm(tensors, names.after_perceptron_norm)?,
        })
    }
}

/// The weights of a norm.
fn norm(tensors: &mut Tensors, design: &Design, name: &str, width: usize) -> Result<Vec<f32>> {
    let mut weight = tensors.vector(&format!("{name}.weight"), width)?;
    weight
        .iter_mut()
        .for_each(|weight| *weight += design.norm_offset);
    Ok(weight)
}
