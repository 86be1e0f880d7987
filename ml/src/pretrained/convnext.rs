//! ConvNeXt of Hugging Face and timm.
//!
//! ```text
//! patches ─ norm ─ stages, from the second on after norm ─ conv 2 × 2 / 2 ─ mean ─ norm
//! block   x + scale · linear (gelu (linear (norm (conv 7 × 7 of each channel (x)))))
//! ```
//! The scale of a block is a part of its last layer.
//!
//! Liu et al., "A ConvNet for the 2020s", 2022.

use std::sync::Arc;

use candle_core::Tensor;

use super::builder::{Builder, ConvolutionSpec};
use super::config::{Config, EDGE_MAX, LAYERS_MAX, WIDTH_MAX};
use super::family::{Family, Origin, Source};
use super::image_model::{ImageModel, ImageNetwork, Parts, builder};
use super::layers::{
    Conv, LayerNorm, Linear, activation, channel_means, channels_first, channels_last,
};
use crate::Result;
use crate::model::Model;
use crate::nn::{Pointwise, pointwise};

pub(super) const FAMILY: Family = Family {
    model_type: "convnext",
    architectures: &["ConvNextForImageClassification", "ConvNextModel"],
    timm: &[
        "convnext_atto",
        "convnext_femto",
        "convnext_pico",
        "convnext_nano",
        "convnext_tiny",
        "convnext_small",
        "convnext_base",
        "convnext_large",
        "convnext_xlarge",
    ],
    open,
    open_texts: None,
};

/// The epsilon of all norms but the last of Hugging Face.
const EPSILON: f64 = 1e-6;
/// The size of the windows of blocks.
const KERNEL: usize = 7;
/// The layers of a block are so many times as wide as the block.
const WIDENING: usize = 4;

fn open(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    let config = &source.config;
    let size = config.pair("image_size", Some(224), 1..=EDGE_MAX)?;
    let (mut builder, preprocess) = builder(source, size)?;
    let (network, head) = match source.origin {
        Origin::HuggingFace => (of_hugging_face(config, &mut builder)?, "classifier"),
        Origin::Timm => {
            source.pooling(&["avg"])?;
            source.check_arguments(&["depths", "dims", "conv_mlp"])?;
            (of_timm(&mut builder)?, "head.fc")
        }
    };
    let width = builder.channels;
    let parts = Parts::with_head(&mut builder, preprocess, network, (width, head))?;
    ImageModel::open(source, &builder, parts, |_| false)
}

#[derive(Debug)]
struct ConvNext {
    patches: Conv,
    norm: LayerNorm,
    stages: Vec<Stage>,
    last_norm: LayerNorm,
}

#[derive(Debug)]
struct Stage {
    /// Makes images smaller, except in the first stage.
    downsample: Option<(LayerNorm, Conv)>,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    depthwise: Conv,
    norm: LayerNorm,
    wide: Linear,
    narrow: Linear,
    activation: Pointwise,
}

impl ImageNetwork for ConvNext {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = of_channels(&self.norm, &self.patches.forward(images)?)?;
        for stage in &self.stages {
            if let Some((norm, convolution)) = &stage.downsample {
                x = convolution.forward(&of_channels(norm, &x)?)?;
            }
            for block in &stage.blocks {
                x = block.forward(&x)?;
            }
        }
        self.last_norm.forward(&channel_means(&x)?)
    }
}

/// Normalises the channels of each pixel.
fn of_channels(norm: &LayerNorm, x: &Tensor) -> Result<Tensor> {
    channels_first(&norm.forward(&channels_last(x)?)?)
}

impl Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = channels_last(&self.depthwise.forward(x)?)?;
        let y = self.wide.forward(&self.norm.forward(&y)?)?;
        let y = self.narrow.forward(&pointwise(self.activation, &y)?)?;
        Ok((channels_first(&y)? + x)?)
    }
}

/// The names of the layers of a block.
struct BlockNames {
    depthwise: String,
    norm: String,
    wide: String,
    narrow: String,
    scale: String,
}

fn take_block(
    builder: &mut Builder<'_>,
    names: &BlockNames,
    activation: Pointwise,
) -> Result<Block> {
    let width = builder.channels;
    let depthwise = ConvolutionSpec {
        is_depthwise: true,
        has_bias: true,
        ..ConvolutionSpec::square(width, KERNEL)
    };
    let depthwise = builder.convolution(&names.depthwise, None, depthwise)?;
    let norm = builder.layer_norm(&names.norm, width, EPSILON)?;
    let wide = width * WIDENING;
    builder.count(wide * builder.size[0] * builder.size[1]);
    let widening = builder.linear(&names.wide, [width, wide], true)?;
    let scale = match builder.weights.has(&names.scale) {
        true => builder.weights.take(&names.scale, &[width])?,
        false => vec![1.0; width],
    };
    let narrow = builder.scaled_linear(&names.narrow, [wide, width], &scale)?;
    Ok(Block {
        depthwise,
        norm,
        wide: widening,
        narrow,
        activation,
    })
}

/// A norm, and a convolution that makes images half as large.
fn take_downsample(
    builder: &mut Builder<'_>,
    name: &str,
    outputs: usize,
) -> Result<(LayerNorm, Conv)> {
    let norm = builder.layer_norm(&format!("{name}.0"), builder.channels, EPSILON)?;
    let spec = ConvolutionSpec::patches(outputs, [2; 2], true);
    Ok((norm, builder.convolution(&format!("{name}.1"), None, spec)?))
}

fn of_hugging_face(config: &Config, builder: &mut Builder<'_>) -> Result<ConvNext> {
    let activation = activation(config, "gelu")?;
    let widths = config.wholes("hidden_sizes", &[96, 192, 384, 768], 1..=WIDTH_MAX)?;
    let depths = config.wholes("depths", &[3, 3, 9, 3], 1..=LAYERS_MAX)?;
    let count = config.whole("num_stages", Some(depths.len()), 1..=LAYERS_MAX)?;
    if widths.len() != count || depths.len() != count {
        let what = format!("is {count}, depths and hidden_sizes have other lengths");
        return Err(config.error("num_stages", what));
    }
    let prefix = match builder.has("convnext.embeddings.patch_embeddings") {
        true => "convnext.",
        false => "",
    };
    let patch = config.pair("patch_size", Some(4), 1..=EDGE_MAX)?;
    let spec = ConvolutionSpec::patches(widths[0], patch, true);
    let embeddings = format!("{prefix}embeddings");
    let patches = builder.convolution(&format!("{embeddings}.patch_embeddings"), None, spec)?;
    let norm = builder.layer_norm(&format!("{embeddings}.layernorm"), widths[0], EPSILON)?;
    let mut stages = vec![];
    for (number, (&width, depth)) in widths.iter().zip(depths).enumerate() {
        let stage = format!("{prefix}encoder.stages.{number}");
        let name = format!("{stage}.downsampling_layer");
        let is_smaller = number > 0 || width != builder.channels;
        let downsample = is_smaller.then(|| take_downsample(builder, &name, width));
        let downsample = downsample.transpose()?;
        let mut blocks = vec![];
        for block in 0..depth {
            let layer = |layer: &str| format!("{stage}.layers.{block}.{layer}");
            let names = BlockNames {
                depthwise: layer("dwconv"),
                norm: layer("layernorm"),
                wide: layer("pwconv1"),
                narrow: layer("pwconv2"),
                scale: layer("layer_scale_parameter"),
            };
            blocks.push(take_block(builder, &names, activation)?);
        }
        stages.push(Stage { downsample, blocks });
    }
    let epsilon = config.epsilon("layer_norm_eps", 1e-12)?;
    let name = format!("{prefix}layernorm");
    let last_norm = builder.layer_norm(&name, builder.channels, epsilon)?;
    Ok(ConvNext {
        patches,
        norm,
        stages,
        last_norm,
    })
}

/// The widths and depths are those of the weights.
fn of_timm(builder: &mut Builder<'_>) -> Result<ConvNext> {
    let [width, _, down, across] = builder.dimensions("stem.0")?;
    let spec = ConvolutionSpec::patches(width, [down, across], true);
    let patches = builder.convolution("stem.0", None, spec)?;
    let norm = builder.layer_norm("stem.1", width, EPSILON)?;
    let mut stages = vec![];
    for number in 0..4 {
        let stage = format!("stages.{number}");
        let name = format!("{stage}.downsample");
        let downsample = match builder.has(&format!("{name}.1")) || number > 0 {
            true => {
                let [outputs, ..] = builder.dimensions(&format!("{name}.1"))?;
                Some(take_downsample(builder, &name, outputs)?)
            }
            false => None,
        };
        // A stage without blocks lacks its first.
        let depth = builder.weights.count(&format!("{stage}.blocks.")).max(1);
        let mut blocks = vec![];
        for block in 0..depth {
            let layer = |layer: &str| format!("{stage}.blocks.{block}.{layer}");
            let names = BlockNames {
                depthwise: layer("conv_dw"),
                norm: layer("norm"),
                wide: layer("mlp.fc1"),
                narrow: layer("mlp.fc2"),
                scale: layer("gamma"),
            };
            blocks.push(take_block(builder, &names, Pointwise::Gelu)?);
        }
        stages.push(Stage { downsample, blocks });
    }
    let last_norm = builder.layer_norm("head.norm", builder.channels, EPSILON)?;
    Ok(ConvNext {
        patches,
        norm,
        stages,
        last_norm,
    })
}
