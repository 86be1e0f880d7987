//! CLIP: a tower of images and a tower of texts, whose vectors are near each other if a text describes an image.
//!
//! ```text
//! images   patches, a class token before them ─ + positions ─ norm ─ blocks ─ class token ─ norm ─ projection ─ length 1
//! texts    tokens ─ + positions ─ blocks, in which a token sees those before it ─ norm ─ last token ─ projection ─ length 1
//! ```
//! Each tower is a model of its own; both outputs are in one space.
//!
//! Radford et al., "Learning transferable visual models from natural language supervision", 2021.

use std::sync::Arc;

use candle_core::{Device, Tensor};

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
use super::transformer::Block;
use super::vectors::of_length_one;
use super::vit::{sizes, tokens};
use super::weights::Weights;
use crate::Result;
use crate::model::Model;

pub(super) const FAMILY: Family = Family {
    model_type: "clip",
    architectures: &["CLIPModel"],
    timm: &[],
    open: open_images,
    open_texts: Some(open_texts),
};

const EPSILON: f64 = 1e-5;
/// The end of a text in descriptions that have a wrong one: models take the token of the greatest number.
const WRONG_END: usize = 2;

/// Tensors beside the towers: what scales similarities in training.
fn is_scale(name: &str) -> bool {
    name == "logit_scale"
}

fn open_images(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    let config = source.config.section_or_empty("vision_config")?;
    let size = config.pair("image_size", Some(224), 1..=EDGE_MAX)?;
    let (mut builder, preprocess) = builder_of(source, &config, size)?;
    let width = projection(&source.config, "projection_dim", 512)?;
    let network = ImageTower::take(&config, &mut builder, width)?;
    let parts = image_model::Parts {
        preprocess,
        network: Box::new(network),
        width,
        head: None,
    };
    ImageModel::open(source, &builder, parts, |name| {
        let is_of_texts = name.starts_with(TEXTS) || name == "text_projection.weight";
        is_of_texts || is_scale(name) || is_counter(name)
    })
}

#[derive(Debug)]
struct ImageTower {
    patches: Conv,
    /// The class token, with its position: `[1, 1, width]`.
    class: Tensor,
    /// The positions of the patches: `[1, patches, width]`.
    positions: Tensor,
    norm: LayerNorm,
    blocks: Vec<Block>,
    last_norm: LayerNorm,
    projection: Linear,
}

impl ImageTower {
    fn take(config: &Config, builder: &mut Builder<'_>, projected: usize) -> Result<Self> {
        let activation = activation(config, "quick_gelu")?;
        let sizes = sizes(config, [768, 12, 12], (activation, EPSILON))?;
        let width = sizes.width;
        let patch = config.pair("patch_size", Some(32), 1..=EDGE_MAX)?;
        let spec = ConvolutionSpec::patches(width, patch, false);
        let name = format!("{IMAGES}embeddings.patch_embedding");
        let patches = builder.convolution(&name, None, spec)?;
        let count = builder.size[0] * builder.size[1];
        let names = ["class_embedding", "position_embedding.weight"];
        let [class, positions] = names.map(|name| format!("{IMAGES}embeddings.{name}"));
        let class = builder.weights.take(&class, &[width])?;
        let positions = builder.weights.take(&positions, &[count + 1, width])?;
        let (first, rest) = positions.split_at(width);
        let class: Vec<f32> = class.iter().zip(first).map(|(x, y)| x + y).collect();
        let device = builder.device();
        Ok(Self {
            patches,
            class: Tensor::from_vec(class, (1, 1, width), device)?,
            positions: Tensor::from_vec(rest.to_vec(), (1, count, width), device)?,
            // The name has a letter less in all files.
            norm: builder.layer_norm(&format!("{IMAGES}pre_layrnorm"), width, sizes.epsilon)?,
            blocks: take_blocks(builder, IMAGES, &sizes, count + 1)?,
            last_norm: builder.layer_norm(
                &format!("{IMAGES}post_layernorm"),
                width,
                sizes.epsilon,
            )?,
            projection: builder.linear("visual_projection", [width, projected], false)?,
        })
    }
}

impl ImageNetwork for ImageTower {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let patches = tokens(&self.patches.forward(images)?)?;
        let patches = patches.broadcast_add(&self.positions)?;
        let (rows, _, width) = patches.dims3()?;
        let class = self.class.broadcast_as((rows, 1, width))?.contiguous()?;
        let x = Tensor::cat(&[&class, &patches], 1)?;
        let mut x = self.norm.forward(&x)?;
        for block in &self.blocks {
            x = block.forward(&x, None)?;
        }
        let class = x.narrow(1, 0, 1)?.reshape((rows, width))?;
        let class = self.last_norm.forward(&class)?;
        of_length_one(&self.projection.forward(&class)?)
    }
}

fn open_texts(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    let config = source.config.section_or_empty("text_config")?;
    let input = TextSizes::of(&config, [49_408, 77])?;
    let tokenizer = TextTokenizer::read(source.files, input.tokens, input.vocabulary)?;
    let weights = Weights::read(source.files)?;
    let mut builder = Builder::new(weights, source.device, 1, [1; 2]);
    let width = projection(&source.config, "projection_dim", 512)?;
    let network = TextTower::take(&config, &mut builder, input, width)?;
    let end = config.whole("eos_token_id", Some(49_407), 0..=u32::MAX as usize)?;
    let parts = text_model::Parts {
        tokenizer,
        layout: match end {
            WRONG_END => Layout::UpToGreatest,
            end => Layout::UpTo(end as u32),
        },
        network: Box::new(network),
        width,
    };
    TextModel::open(source, &builder, parts, |name| {
        let is_of_images = name.starts_with(IMAGES) || name == "visual_projection.weight";
        is_of_images || is_scale(name) || is_counter(name)
    })
}

#[derive(Debug)]
struct TextTower {
    embedding: TokenEmbedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    projection: Linear,
}

impl TextTower {
    fn take(
        config: &Config,
        builder: &mut Builder<'_>,
        input: TextSizes,
        projected: usize,
    ) -> Result<Self> {
        let activation = activation(config, "quick_gelu")?;
        let sizes = sizes(config, [512, 12, 8], (activation, EPSILON))?;
        let width = sizes.width;
        let name = format!("{TEXTS}final_layer_norm");
        Ok(Self {
            embedding: TokenEmbedding::take(builder, input, width)?,
            blocks: take_blocks(builder, TEXTS, &sizes, input.tokens)?,
            norm: builder.layer_norm(&name, width, sizes.epsilon)?,
            projection: builder.linear("text_projection", [width, projected], false)?,
        })
    }
}

impl TextNetwork for TextTower {
    fn features(&self, tokens: &Tensor, lengths: &Tensor) -> Result<Tensor> {
        let mut x = self.embedding.forward(tokens)?;
        let mask = causal_mask(x.dim(1)?, x.device())?;
        for block in &self.blocks {
            x = block.forward(&x, Some(&mask))?;
        }
        // The tokens after the last one of a text are not seen by it.
        let last = self.norm.forward(&last_of_each(&x, lengths)?)?;
        of_length_one(&self.projection.forward(&last)?)
    }
}

/// A mask in which each token sees itself and those before it: `[1, tokens, tokens]`.
fn causal_mask(tokens: usize, device: &Device) -> Result<Tensor> {
    let row = |query: usize| {
        (0..tokens).map(move |key| if key <= query { 0.0 } else { f32::NEG_INFINITY })
    };
    let values: Vec<f32> = (0..tokens).flat_map(row).collect();
    Ok(Tensor::from_vec(values, (1, tokens, tokens), device)?)
}
