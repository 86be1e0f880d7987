//! [`Attention`]: the first part of a layer of a transformer, in which a token sees those of its text.

use candle_core::Tensor;

use super::buckets::bucket;
use super::disentangled::{Disentangled, Distances};
use super::layers::Dense;
use super::spec::{AttentionSpec, BucketSpec, EncoderSpec};
use super::tensors::{Tensors, Wanted};
use crate::Result;
use crate::nn::{PackedAttention, Rotary, Sequences, packed_attention};

/// The attention of a layer.
#[derive(Debug)]
pub(crate) struct Attention {
    /// Queries, keys and values: `[width, 3 * width]`.
    projections: Dense,
    out: Dense,
    heads: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Packed {
        /// The position of its rotation among those that layers share.
        rotation: Option<usize>,
        window: Option<usize>,
    },
    Disentangled(Disentangled),
}

/// What layers share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Added to scores by distance: `[heads, 2 * tokens - 1]`.
    bias: Option<Tensor>,
    /// The rotations, each with its base.
    rotations: Vec<(f64, Rotary)>,
    distances: Option<Distances>,
}

impl Shared {
    /// Takes what layers of an encoder share, whose names begin with `base`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(crate) fn take(tensors: &mut dyn Tensors, spec: &EncoderSpec, base: &str) -> Result<Self> {
        let mut shared = Self {
            bias: None,
            rotations: vec![],
            distances: None,
        };
        let sizes = &spec.sizes;
        match &spec.attention {
            AttentionSpec::Plain => {}
            AttentionSpec::Buckets(of) => {
                let name = format!("{base}{}.weight", of.name);
                let table = tensors.take(&Wanted::stored(name, &[of.rows, sizes.heads]))?;
                shared.bias = Some(by_distance(&table, of)?);
            }
            AttentionSpec::Rotary(layers) => {
                let device = tensors.device().clone();
                for layer in layers {
                    if shared.rotation(layer.base).is_none() {
                        let width = sizes.width / sizes.heads;
                        let rotary = Rotary::new(width, layer.tokens, layer.base, &device)?;
                        shared.rotations.push((layer.base, rotary));
                    }
                }
            }
            AttentionSpec::Disentangled(of) => {
                shared.distances = Some(Distances::take(tensors, spec, of, base)?);
            }
        }
        Ok(shared)
    }

    fn rotation(&self, base: f64) -> Option<usize> {
        let mut bases = self.rotations.iter().map(|(base, _)| *base);
        bases.position(|of| of == base)
    }

    /// The vectors after the first layer and what is beside it, from those before and those after it.
    pub(crate) fn after_first(
        &self,
        before: &Tensor,
        after: Tensor,
        sequences: &Sequences,
    ) -> Result<Tensor> {
        match &self.distances {
            Some(distances) => distances.after_first(before, after, sequences),
            None => Ok(after),
        }
    }
}

/// The row of a table `[buckets, heads]` for each distance, from the least: `[heads, 2 * tokens - 1]`.
fn by_distance(table: &Tensor, of: &BucketSpec) -> Result<Tensor> {
    let last = of.tokens as i64 - 1;
    let buckets: Vec<u32> = (-last..=last).map(bucket).collect();
    let count = buckets.len();
    let buckets = Tensor::from_vec(buckets, count, table.device())?;
    Ok(table.index_select(&buckets, 0)?.t()?.contiguous()?)
}

impl Attention {
    /// Takes the attention of the layer of this number, whose names begin with `base`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(crate) fn take(
        tensors: &mut dyn Tensors,
        spec: &EncoderSpec,
        shared: &Shared,
        (base, number): (&str, usize),
    ) -> Result<Self> {
        let (names, width) = (&spec.names, spec.sizes.width);
        let parts = names.projections.iter().map(|name| format!("{base}{name}"));
        let parts: Vec<String> = parts.collect();
        let of_part = [width, 3 * width / parts.len()];
        let projections = Dense::take(tensors, &parts, of_part, spec.biases.projections)?;
        let out = format!("{base}{}", names.out);
        let out = Dense::take(tensors, &[out], [width; 2], spec.biases.out)?;
        let kind = match (&spec.attention, &shared.distances) {
            (AttentionSpec::Rotary(layers), _) => Kind::Packed {
                rotation: layers
                    .get(number)
                    .and_then(|layer| shared.rotation(layer.base)),
                window: layers.get(number).and_then(|layer| layer.window),
            },
            (AttentionSpec::Disentangled(_), Some(distances)) => {
                Kind::Disentangled(Disentangled::take(tensors, distances, &projections, base)?)
            }
            _ => Kind::Packed {
                rotation: None,
                window: None,
            },
        };
        Ok(Self {
            projections,
            out,
            heads: spec.sizes.heads,
            kind,
        })
    }

    /// The vectors `[tokens, width]` for `x` of this shape.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        shared: &Shared,
        sequences: &Sequences,
    ) -> Result<Tensor> {
        let qkv = self.projections.forward(x)?;
        let means = match &self.kind {
            Kind::Disentangled(kind) => kind.forward(&qkv, sequences)?,
            Kind::Packed { rotation, window } => {
                let rotation = rotation.and_then(|number| shared.rotations.get(number));
                let qkv = match rotation {
                    // The queries and the keys, before the values.
                    Some((_, rotary)) => rotary.forward(&qkv, 2 * self.heads, sequences)?,
                    None => qkv,
                };
                let how = PackedAttention {
                    heads: self.heads,
                    scale: None,
                    causal: false,
                    window: *window,
                };
                packed_attention(&qkv, shared.bias.as_ref(), sequences, &how)?
            }
        };
        self.out.forward(&means)
    }
}
