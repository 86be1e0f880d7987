//! SigLIP: a tower of images and a tower of texts, as in CLIP; each pair of both is a question of its own.
//!
//! ```text
//! images   patches ─ + positions ─ blocks ─ norm ─ attention of one learnt query ─ x + perceptron (norm (x)) ─ length 1
//! texts    tokens, filled up to the longest text ─ + positions ─ blocks ─ norm ─ last token ─ linear ─ length 1
//! ```
//! Zhai et al., "Sigmoid loss for language image pre-training", 2023.

use std::sync::Arc;

use candle_core::Tensor;

use super::builder::{Builder, ConvolutionSpec};
use super::config::{Config, EDGE_MAX};
use super::family::{Family, Source};
use super::image_model::{self, ImageModel, ImageNetwork, builder_of};
use super::layers::{Conv, LayerNorm, Linear, activation};
use super::text_model::{self, Layout, TextModel, TextNetwork};
use super::texts::tokens::tokenizer::TextTokenizer;
use super::towers::{
    IMAGES, TEXTS, TextSizes, TokenEmbedding, is_counter, last_of_each, projection, take_blocks,
};
use super::transformer::{Block, Sizes};
use super::vectors::of_length_one;
use super::vit::{sizes, tokens};
use super::weights::Weights;
use crate::Result;
use crate::model::Model;
use crate::nn::{Attention, Pointwise, attention, pointwise};

pub(super) const FAMILY: Family = Family {
    model_type: "siglip",
    architectures: &["SiglipModel"],
    timm: &[],
    open: open_images,
    open_texts: Some(open_texts),
};

const EPSILON: f64 = 1e-6;
const ACTIVATION: &str = "gelu_pytorch_tanh";

/// Tensors beside the towers: what scales similarities in training.
fn is_scale(name: &str) -> bool {
    matches!(name, "logit_scale" | "logit_bias")
}

fn open_images(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    let config = source.config.section_or_empty("vision_config")?;
    config.require_flag("vision_use_head", true)?;
    let size = config.pair("image_size", Some(224), 1..=EDGE_MAX)?;
    let (mut builder, preprocess) = builder_of(source, &config, size)?;
    let sizes = sizes(
        &config,
        [768, 12, 12],
        (activation(&config, ACTIVATION)?, EPSILON),
    )?;
    let network = ImageTower::take(&config, &mut builder, &sizes)?;
    let parts = image_model::Parts {
        preprocess,
        network: Box::new(network),
        width: sizes.width,
        head: None,
    };
    ImageModel::open(source, &builder, parts, |name| {
        name.starts_with(TEXTS) || is_scale(name) || is_counter(name)
    })
}

#[derive(Debug)]
struct ImageTower {
    patches: Conv,
    /// `[1, patches, width]`
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Head,
}

/// Pools vectors by the attention of one query.
#[derive(Debug)]
struct Head {
    /// The query, after its projection: `[1, 1, width]`.
    query: Tensor,
    key: Linear,
    value: Linear,
    out: Linear,
    norm: LayerNorm,
    first: Linear,
    second: Linear,
    heads: usize,
    activation: Pointwise,
}

impl ImageTower {
    fn take(config: &Config, builder: &mut Builder<'_>, sizes: &Sizes) -> Result<Self> {
        let width = sizes.width;
        let patch = config.pair("patch_size", Some(16), 1..=EDGE_MAX)?;
        let spec = ConvolutionSpec::patches(width, patch, true);
        let name = format!("{IMAGES}embeddings.patch_embedding");
        let patches = builder.convolution(&name, None, spec)?;
        let count = builder.size[0] * builder.size[1];
        let name = format!("{IMAGES}embeddings.position_embedding.weight");
        let positions = builder.weights.take(&name, &[count, width])?;
        let positions = Tensor::from_vec(positions, (1, count, width), builder.device())?;
        Ok(Self {
            patches,
            positions,
            blocks: take_blocks(builder, IMAGES, sizes, count)?,
            norm: builder.layer_norm(&format!("{IMAGES}post_layernorm"), width, sizes.epsilon)?,
            head: Head::take(builder, sizes)?,
        })
    }
}

impl Head {
    fn take(builder: &mut Builder<'_>, sizes: &Sizes) -> Result<Self> {
        let (width, wide) = (sizes.width, sizes.wide);
        let name = |layer: &str| format!("{IMAGES}head.{layer}");
        let projections = ["attention.in_proj_weight", "attention.in_proj_bias"].map(name);
        let [query, key, value] = builder.three_linear(&projections, width)?;
        let probe = builder.weights.take(&name("probe"), &[1, 1, width])?;
        let probe = Tensor::from_vec(probe, (1, 1, width), builder.device())?;
        Ok(Self {
            query: query.forward(&probe)?,
            key,
            value,
            out: builder.linear(&name("attention.out_proj"), [width; 2], true)?,
            norm: builder.layer_norm(&name("layernorm"), width, sizes.epsilon)?,
            first: builder.linear(&name("mlp.fc1"), [width, wide], true)?,
            second: builder.linear(&name("mlp.fc2"), [wide, width], true)?,
            heads: sizes.heads,
            activation: sizes.activation,
        })
    }

    /// A vector for each row of `x` `[rows, tokens, width]`: `[rows, width]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, _, width) = x.dims3()?;
        let query = self.query.broadcast_as((rows, 1, width))?.contiguous()?;
        let how = Attention {
            heads: self.heads,
            mask: None,
        };
        let (key, value) = (self.key.forward(x)?, self.value.forward(x)?);
        let means = attention(&query, &key, &value, how)?;
        let x = self.out.forward(&means.reshape((rows, width))?)?;
        let wide = self.first.forward(&self.norm.forward(&x)?)?;
        let narrow = self.second.forward(&pointwise(self.activation, &wide)?)?;
        Ok((narrow + x)?)
    }
}

impl ImageNetwork for ImageTower {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let patches = tokens(&self.patches.forward(images)?)?;
        let mut x = patches.broadcast_add(&self.positions)?;
        for block in &self.blocks {
            x = block.forward(&x, None)?;
        }
        of_length_one(&self.head.forward(&self.norm.forward(&x)?)?)
    }
}

fn open_texts(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    let config = source.config.section_or_empty("text_config")?;
    let input = TextSizes::of(&config, [32_000, 64])?;
    let tokenizer = TextTokenizer::read(source.files, input.tokens, input.vocabulary)?;
    let weights = Weights::read(source.files)?;
    let mut builder = Builder::new(weights, source.device, 1, [1; 2]);
    let sizes = sizes(
        &config,
        [768, 12, 12],
        (activation(&config, ACTIVATION)?, EPSILON),
    )?;
    let width = projection(&config, "projection_size", sizes.width)?;
    let network = TextTower::take(&mut builder, &sizes, input, width)?;
    let last = input.vocabulary - 1;
    let padding = config.whole("pad_token_id", Some(1), 0..=last)?;
    let parts = text_model::Parts {
        tokenizer,
        layout: Layout::Filled(input.tokens, padding as u32),
        network: Box::new(network),
        width,
    };
    TextModel::open(source, &builder, parts, |name| {
        name.starts_with(IMAGES) || is_scale(name) || is_counter(name)
    })
}

#[derive(Debug)]
struct TextTower {
    embedding: TokenEmbedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl TextTower {
    fn take(
        builder: &mut Builder<'_>,
        sizes: &Sizes,
        input: TextSizes,
        projected: usize,
    ) -> Result<Self> {
        let width = sizes.width;
        let norm = format!("{TEXTS}final_layer_norm");
        Ok(Self {
            embedding: TokenEmbedding::take(builder, input, width)?,
            blocks: take_blocks(builder, TEXTS, sizes, input.tokens)?,
            norm: builder.layer_norm(&norm, width, sizes.epsilon)?,
            head: builder.linear(&format!("{TEXTS}head"), [width, projected], true)?,
        })
    }
}

impl TextNetwork for TextTower {
    fn features(&self, tokens: &Tensor, lengths: &Tensor) -> Result<Tensor> {
        let mut x = self.embedding.forward(tokens)?;
        for block in &self.blocks {
            x = block.forward(&x, None)?;
        }
        let last = self.norm.forward(&last_of_each(&x, lengths)?)?;
        of_length_one(&self.head.forward(&last)?)
    }
}
