//! Vision transformers (ViT) of Hugging Face and timm.
//!
//! ```text
//! patches ─ a class token before them ─ + positions ─ blocks ─ norm ─ the class token, or the mean of the patches ─ norm
//! ```
//! Models of timm that pool the mean have their last norm after it. The dense layer that ends `ViTModel` (`pooler`) is left out:
//! features are the class token after the norm.
//!
//! Dosovitskiy et al., "An image is worth 16x16 words", 2020.

use std::sync::Arc;

use candle_core::Tensor;

use super::builder::{Builder, ConvolutionSpec};
use super::config::{Config, EDGE_MAX, LAYERS_MAX, WIDTH_MAX};
use super::family::{Family, Origin, Source};
use super::image_model::{ImageModel, ImageNetwork, Parts, builder};
use super::layers::{Conv, LayerNorm, activation};
use super::transformer::{Block, BlockNames, Projections, Sizes};
use crate::Result;
use crate::artifact::{WEIGHTS_FILE, corrupt};
use crate::model::Model;
use crate::nn::Pointwise;

pub(super) const FAMILY: Family = Family {
    model_type: "vit",
    architectures: &["ViTForImageClassification", "ViTModel"],
    timm: &[
        "vit_tiny_patch16_224",
        "vit_tiny_patch16_384",
        "vit_small_patch8_224",
        "vit_small_patch16_224",
        "vit_small_patch16_384",
        "vit_small_patch32_224",
        "vit_small_patch32_384",
        "vit_base_patch8_224",
        "vit_base_patch16_224",
        "vit_base_patch16_384",
        "vit_base_patch32_224",
        "vit_base_patch32_384",
        "vit_large_patch16_224",
        "vit_large_patch16_384",
        "vit_large_patch32_224",
        "vit_large_patch32_384",
    ],
    open,
    open_texts: None,
};

fn open(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    let config = &source.config;
    let size = config.pair("image_size", Some(224), 1..=EDGE_MAX)?;
    let (mut builder, preprocess) = builder(source, size)?;
    let (network, width, head) = match source.origin {
        Origin::HuggingFace => {
            let (network, width) = of_hugging_face(config, &mut builder)?;
            (network, width, "classifier")
        }
        Origin::Timm => {
            source.check_arguments(&["embed_dim", "depth", "num_heads", "patch_size"])?;
            let (network, width) = of_timm(source, &mut builder)?;
            (network, width, "head")
        }
    };
    let parts = Parts::with_head(&mut builder, preprocess, network, (width, head))?;
    // A layer of `ViTModel` that is no part of its last hidden state.
    let is_pooler = |name: &str| name.starts_with("pooler.") || name.starts_with("vit.pooler.");
    ImageModel::open(source, &builder, parts, is_pooler)
}

#[derive(Debug)]
struct VisionTransformer {
    patches: Conv,
    /// The class token, with its position: `[1, 1, width]`.
    class: Tensor,
    /// The positions of the patches: `[1, patches, width]`.
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    pooling: Pooling,
}

/// What becomes the features.
#[derive(Debug, Clone, Copy)]
enum Pooling {
    /// The class token, normalised.
    Class,
    /// The mean of the patches, normalised.
    Mean,
}

impl ImageNetwork for VisionTransformer {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let patches = tokens(&self.patches.forward(images)?)?;
        let patches = patches.broadcast_add(&self.positions)?;
        let (rows, count, width) = patches.dims3()?;
        let class = self.class.broadcast_as((rows, 1, width))?.contiguous()?;
        let mut x = Tensor::cat(&[&class, &patches], 1)?;
        for block in &self.blocks {
            x = block.forward(&x, None)?;
        }
        let pooled = match self.pooling {
            Pooling::Class => x.narrow(1, 0, 1)?.reshape((rows, width))?,
            Pooling::Mean => x.narrow(1, 1, count)?.mean(1)?,
        };
        self.norm.forward(&pooled)
    }
}

/// The pixels of images `[rows, channels, height, width]` as vectors, `[rows, pixels, channels]`.
pub(super) fn tokens(images: &Tensor) -> Result<Tensor> {
    Ok(images.flatten_from(2)?.transpose(1, 2)?.contiguous()?)
}

/// The class token with its position, and the positions of the patches.
fn take_positions(
    builder: &mut Builder<'_>,
    [class, positions]: [&str; 2],
    width: usize,
) -> Result<(Tensor, Tensor)> {
    let count = builder.size[0] * builder.size[1];
    let class = builder.weights.take(class, &[1, 1, width])?;
    let positions = builder.weights.take(positions, &[1, count + 1, width])?;
    let (first, rest) = positions.split_at(width);
    let class: Vec<f32> = class.iter().zip(first).map(|(x, y)| x + y).collect();
    let device = builder.device();
    Ok((
        Tensor::from_vec(class, (1, 1, width), device)?,
        Tensor::from_vec(rest.to_vec(), (1, count, width), device)?,
    ))
}

/// The sizes of a transformer in the description of Hugging Face; `width`, `layers` and `heads` are the defaults.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) for sizes that do not fit.
pub(super) fn sizes(
    config: &Config,
    [width, layers, heads]: [usize; 3],
    (activation, epsilon): (Pointwise, f64),
) -> Result<Sizes> {
    let wide = 4 * width;
    let width = config.whole("hidden_size", Some(width), 1..=WIDTH_MAX)?;
    let heads = config.whole("num_attention_heads", Some(heads), 1..=WIDTH_MAX)?;
    check_heads(config, width, heads)?;
    Ok(Sizes {
        width,
        wide: config.whole("intermediate_size", Some(wide), 1..=WIDTH_MAX)?,
        heads,
        layers: config.whole("num_hidden_layers", Some(layers), 1..=LAYERS_MAX)?,
        activation,
        epsilon: config.epsilon("layer_norm_eps", epsilon)?,
    })
}

fn check_heads(config: &Config, width: usize, heads: usize) -> Result<()> {
    match width.is_multiple_of(heads) {
        true => Ok(()),
        false => {
            let what = format!("is {heads}, which does not divide the width {width}");
            Err(config.error("num_attention_heads", what))
        }
    }
}

fn of_hugging_face(
    config: &Config,
    builder: &mut Builder<'_>,
) -> Result<(VisionTransformer, usize)> {
    let sizes = sizes(config, [768, 12, 12], (activation(config, "gelu")?, 1e-12))?;
    let width = sizes.width;
    let prefix = match builder.has("vit.embeddings.patch_embeddings.projection") {
        true => "vit.",
        false => "",
    };
    let patch = config.pair("patch_size", Some(16), 1..=EDGE_MAX)?;
    let size = config.pair("image_size", Some(224), 1..=EDGE_MAX)?;
    if size != builder.size {
        let [height, width] = builder.size;
        let what = format!("is {size:?}, the image processor makes images of {height} x {width}");
        return Err(config.error("image_size", what));
    }
    let embeddings = format!("{prefix}embeddings");
    let name = format!("{embeddings}.patch_embeddings.projection");
    let spec = ConvolutionSpec::patches(width, patch, true);
    let patches = builder.convolution(&name, None, spec)?;
    let names = ["cls_token", "position_embeddings"].map(|name| format!("{embeddings}.{name}"));
    let (class, positions) = take_positions(builder, [&names[0], &names[1]], width)?;
    let tokens = builder.size[0] * builder.size[1] + 1;
    let has_bias = config.flag("qkv_bias", true)?;
    let mut blocks = vec![];
    for number in 0..sizes.layers {
        let layer = |layer: &str| format!("{prefix}encoder.layer.{number}.{layer}");
        let of_attention = |name: &str| layer(&format!("attention.attention.{name}"));
        let names = BlockNames {
            before_attention: layer("layernorm_before"),
            projections: Projections::Three(["query", "key", "value"].map(of_attention)),
            out: layer("attention.output.dense"),
            before_perceptron: layer("layernorm_after"),
            first: layer("intermediate.dense"),
            second: layer("output.dense"),
        };
        blocks.push(Block::take(builder, &names, &sizes, (has_bias, tokens))?);
    }
    let norm = builder.layer_norm(&format!("{prefix}layernorm"), width, sizes.epsilon)?;
    let network = VisionTransformer {
        patches,
        class,
        positions,
        blocks,
        norm,
        pooling: Pooling::Class,
    };
    Ok((network, width))
}

/// The heads of a model of timm.
fn heads(source: &Source<'_>, width: usize) -> Result<usize> {
    let name = source.architecture.as_str();
    let sizes = [("tiny", 3), ("small", 6), ("base", 12), ("large", 16)];
    let of_size = sizes.iter().find(|(size, _)| name.contains(size));
    let default = of_size.map(|(_, heads)| *heads);
    let arguments = source.config.section_or_empty("model_args")?;
    let heads = arguments.whole("num_heads", default, 1..=WIDTH_MAX)?;
    check_heads(&source.config, width, heads)?;
    Ok(heads)
}

/// The widths and depths are those of the weights.
fn of_timm(source: &Source<'_>, builder: &mut Builder<'_>) -> Result<(VisionTransformer, usize)> {
    let (pooling, last_norm) = match source.pooling(&["token", "avg"])? {
        "avg" => (Pooling::Mean, "fc_norm"),
        _ => (Pooling::Class, "norm"),
    };
    let [width, _, down, across] = builder.dimensions("patch_embed.proj")?;
    let spec = ConvolutionSpec::patches(width, [down, across], true);
    let patches = builder.convolution("patch_embed.proj", None, spec)?;
    let (class, positions) = take_positions(builder, ["cls_token", "pos_embed"], width)?;
    let tokens = builder.size[0] * builder.size[1] + 1;
    let wide = builder.weights.shape("blocks.0.mlp.fc1.weight")?;
    let sizes = Sizes {
        width,
        wide: wide.first().copied().unwrap_or(0),
        heads: heads(source, width)?,
        layers: builder.weights.count("blocks."),
        activation: Pointwise::Gelu,
        epsilon: 1e-6,
    };
    if sizes.layers > LAYERS_MAX {
        let what = format!("{} layers, at most {LAYERS_MAX} are opened", sizes.layers);
        return Err(corrupt(WEIGHTS_FILE, what));
    }
    let mut blocks = vec![];
    for number in 0..sizes.layers {
        let layer = |layer: &str| format!("blocks.{number}.{layer}");
        let names = BlockNames {
            before_attention: layer("norm1"),
            projections: Projections::One(
                ["weight", "bias"].map(|of| layer(&format!("attn.qkv.{of}"))),
            ),
            out: layer("attn.proj"),
            before_perceptron: layer("norm2"),
            first: layer("mlp.fc1"),
            second: layer("mlp.fc2"),
        };
        blocks.push(Block::take(builder, &names, &sizes, (true, tokens))?);
    }
    let norm = builder.layer_norm(last_norm, width, sizes.epsilon)?;
    let network = VisionTransformer {
        patches,
        class,
        positions,
        blocks,
        norm,
        pooling,
    };
    Ok((network, width))
}
