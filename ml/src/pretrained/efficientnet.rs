//! EfficientNet of Hugging Face and timm; and the networks of timm that are written like it: EfficientNet-Lite and MobileNet.
//!
//! ```text
//! conv 3 × 3 / 2 ─ stages of inverted residuals ─ conv 1 × 1 ─ mean          MobileNet v3 has the mean before its last convolution
//! ```
//! Models that come from TensorFlow have its padding, which differs between the sides of an image, and another epsilon.
//!
//! Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", 2019.

use std::sync::Arc;

use candle_core::Tensor;

use super::builder::{Builder, ConvolutionSpec, Padding};
use super::config::{Config, EDGE_MAX, LAYERS_MAX};
use super::family::{Family, Origin, Source};
use super::image_model::{ImageModel, ImageNetwork, Parts, builder};
use super::inverted_residual::{Block, BlockSpec, Names, take};
use super::layers::{Conv, Linear, activation, channel_means};
use crate::Result;
use crate::model::Model;
use crate::nn::{Pointwise, pointwise};

pub(super) const FAMILY: Family = Family {
    model_type: "efficientnet",
    architectures: &["EfficientNetForImageClassification", "EfficientNetModel"],
    timm: &[
        "efficientnet_b0",
        "efficientnet_b1",
        "efficientnet_b2",
        "efficientnet_b3",
        "efficientnet_b4",
        "efficientnet_b5",
        "efficientnet_lite0",
        "efficientnet_lite1",
        "efficientnet_lite2",
        "efficientnet_lite3",
        "efficientnet_lite4",
        "tf_efficientnet_b0",
        "tf_efficientnet_b1",
        "tf_efficientnet_b2",
        "tf_efficientnet_b3",
        "tf_efficientnet_b4",
        "tf_efficientnet_b5",
        "tf_efficientnet_b6",
        "tf_efficientnet_b7",
        "tf_efficientnet_b8",
        "tf_efficientnet_lite0",
        "tf_efficientnet_lite1",
        "tf_efficientnet_lite2",
        "tf_efficientnet_lite3",
        "tf_efficientnet_lite4",
    ],
    open,
    open_texts: None,
};

/// What the name of a model of timm says, and its weights do not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// The stride of the first block of each stage.
    pub(super) strides: &'static [usize],
    pub(super) activation: Pointwise,
    /// The first stages, whose activation is ReLU.
    pub(super) plain_stages: usize,
    /// The activations of squeeze and excite.
    pub(super) gate: [Pointwise; 2],
    pub(super) is_pooled_before_head: bool,
    pub(super) is_of_tensorflow: bool,
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            strides: &[1, 2, 2, 2, 1, 2, 1],
            activation: Pointwise::Silu,
            plain_stages: 0,
            gate: [Pointwise::Silu, Pointwise::Sigmoid],
            is_pooled_before_head: false,
            is_of_tensorflow: false,
        }
    }
}

fn open(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    match source.origin {
        Origin::HuggingFace => open_hugging_face(source),
        Origin::Timm => {
            let name = source.architecture.as_str();
            let activation = match name.contains("_lite") {
                true => Pointwise::Relu6,
                false => Pointwise::Silu,
            };
            let kind = Kind {
                activation,
                is_of_tensorflow: name.starts_with("tf_"),
                ..Kind::default()
            };
            open_timm(source, kind)
        }
    }
}

#[derive(Debug)]
struct EfficientNet {
    stem: Conv,
    blocks: Vec<Layer>,
    head: Head,
}

#[derive(Debug)]
enum Layer {
    Block(Box<Block>),
    Plain(Conv),
}

/// What makes features of the last images.
#[derive(Debug)]
enum Head {
    /// A convolution, then the mean.
    Pooled(Conv),
    /// The mean, then a layer with this activation.
    OfMeans(Linear, Pointwise),
}

impl ImageNetwork for EfficientNet {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = self.stem.forward(images)?;
        for layer in &self.blocks {
            x = match layer {
                Layer::Block(block) => block.forward(&x)?,
                Layer::Plain(convolution) => convolution.forward(&x)?,
            };
        }
        match &self.head {
            Head::Pooled(convolution) => channel_means(&convolution.forward(&x)?),
            Head::OfMeans(layer, activation) => {
                pointwise(*activation, &layer.forward(&channel_means(&x)?)?)
            }
        }
    }
}

/// Opens a model of timm. The widths and depths are those of its weights.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) for weights that do not fit.
pub(super) fn open_timm(source: &Source<'_>, kind: Kind) -> Result<Arc<dyn Model>> {
    source.pooling(&["avg"])?;
    source.check_arguments(&["channel_multiplier", "depth_multiplier"])?;
    let (mut builder, preprocess) = builder(source, [1; 2])?;
    let (network, width) = of_timm(&mut builder, kind)?;
    let parts = Parts::with_head(&mut builder, preprocess, network, (width, "classifier"))?;
    ImageModel::open(source, &builder, parts, |_| false)
}

/// The network, and the width of its features.
fn of_timm(builder: &mut Builder<'_>, kind: Kind) -> Result<(EfficientNet, usize)> {
    let (padding, epsilon) = match kind.is_of_tensorflow {
        true => (Padding::Same, 1e-3),
        false => (Padding::Around(1), 1e-5),
    };
    let names = |first: &str, second: &str| -> Names { [first.into(), second.into()] };
    let active = ConvolutionSpec {
        activation: Some(kind.activation),
        ..ConvolutionSpec::square(1, 1)
    };
    let first = ConvolutionSpec {
        stride: [2; 2],
        padding,
        ..active
    };
    let stem = take(builder, &names("conv_stem", "bn1"), epsilon, first)?;
    let mut blocks = vec![];
    for (stage, &stride) in kind.strides.iter().enumerate() {
        let activation = match stage < kind.plain_stages {
            true => Pointwise::Relu,
            false => kind.activation,
        };
        // A stage without blocks lacks its first.
        let depth = builder.weights.count(&format!("blocks.{stage}.")).max(1);
        for number in 0..depth {
            let name = format!("blocks.{stage}.{number}");
            let plain = format!("{name}.conv");
            if builder.has(&plain) {
                let names = names(&plain, &format!("{name}.bn1"));
                blocks.push(Layer::Plain(take(builder, &names, epsilon, active)?));
                continue;
            }
            let stride = if number == 0 { stride } else { 1 };
            let [_, _, kernel, _] = builder.dimensions(&format!("{name}.conv_dw"))?;
            let padding = match kind.is_of_tensorflow {
                true => Padding::Same,
                false => Padding::Around(kernel / 2),
            };
            let squeeze = ["reduce", "expand"].map(|layer| format!("{name}.se.conv_{layer}"));
            let widens = builder.has(&format!("{name}.conv_pwl"));
            let layer = |layer: &str, norm: usize| -> Names {
                [format!("{name}.{layer}"), format!("{name}.bn{norm}")]
            };
            let spec = BlockSpec {
                expand: widens.then(|| layer("conv_pw", 1)),
                depthwise: layer("conv_dw", if widens { 2 } else { 1 }),
                squeeze: builder.has(&squeeze[0]).then_some(squeeze),
                project: match widens {
                    true => layer("conv_pwl", 3),
                    false => layer("conv_pw", 2),
                },
                stride,
                padding,
                activation,
                gate: kind.gate,
                may_skip: stride == 1,
                epsilon,
            };
            blocks.push(Layer::Block(Box::new(Block::take(builder, &spec)?)));
        }
    }
    let [width, ..] = builder.dimensions("conv_head")?;
    let head = match kind.is_pooled_before_head {
        true => {
            let layer = builder.linear("conv_head", [builder.channels, width], true)?;
            Head::OfMeans(layer, kind.activation)
        }
        false => Head::Pooled(take(builder, &names("conv_head", "bn2"), epsilon, active)?),
    };
    let network = EfficientNet { stem, blocks, head };
    Ok((network, width))
}

fn open_hugging_face(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    let config = &source.config;
    let size = config.pair("image_size", Some(600), 1..=EDGE_MAX)?;
    let (mut builder, preprocess) = builder(source, size)?;
    let network = of_hugging_face(config, &mut builder)?;
    let width = builder.channels;
    let parts = Parts::with_head(&mut builder, preprocess, network, (width, "classifier"))?;
    ImageModel::open(source, &builder, parts, |_| false)
}

/// The blocks of each stage.
fn depths(config: &Config) -> Result<Vec<usize>> {
    let repeats = config.wholes("num_block_repeats", &[1, 2, 2, 3, 3, 4, 1], 1..=LAYERS_MAX)?;
    let factor = config.number("depth_coefficient", 3.1)?;
    let depths = repeats
        .iter()
        .map(|repeats| (factor * *repeats as f64).ceil());
    let depths: Vec<f64> = depths.collect();
    let total: f64 = depths.iter().sum();
    match depths.iter().all(|depth| *depth >= 1.0) && total <= LAYERS_MAX as f64 {
        true => Ok(depths.into_iter().map(|depth| depth as usize).collect()),
        false => {
            let what = format!("is {factor}, with which the model would have {total} blocks");
            Err(config.error("depth_coefficient", what))
        }
    }
}

fn of_hugging_face(config: &Config, builder: &mut Builder<'_>) -> Result<EfficientNet> {
    let activation = activation(config, "swish")?;
    let epsilon = config.epsilon("batch_norm_eps", 0.001)?;
    config.require_text("pooling_type", "mean")?;
    let depths = depths(config)?;
    let strides = config.wholes("strides", &[1, 2, 2, 2, 1, 2, 1], 1..=2)?;
    let kernels = config.wholes("kernel_sizes", &[3, 3, 5, 3, 5, 5, 3], 2..=64)?;
    let square = config.wholes("depthwise_padding", &[], 0..=LAYERS_MAX)?;
    if strides.len() != depths.len() || kernels.len() != depths.len() {
        let what = "and strides, kernel_sizes have different lengths";
        return Err(config.error("num_block_repeats", what));
    }
    let prefix = match builder.has("efficientnet.embeddings.convolution") {
        true => "efficientnet.",
        false => "",
    };
    let named = |names: [&str; 2]| -> Names { names.map(|name| format!("{prefix}{name}")) };
    let active = ConvolutionSpec {
        activation: Some(activation),
        ..ConvolutionSpec::square(1, 1)
    };
    let first = ConvolutionSpec {
        stride: [2; 2],
        padding: Padding::Sides([0, 1]),
        ..active
    };
    let names = named(["embeddings.convolution", "embeddings.batchnorm"]);
    let stem = take(builder, &names, epsilon, first)?;
    let mut blocks = vec![];
    for (stage, depth) in depths.into_iter().enumerate() {
        for number in 0..depth {
            let block = format!("encoder.blocks.{}", blocks.len());
            let layer = |layer: &str, parts: [&str; 2]| -> Names {
                parts.map(|part| format!("{prefix}{block}.{layer}.{part}"))
            };
            let stride = if number == 0 { strides[stage] } else { 1 };
            let kernel = kernels[stage];
            let padding = match (stride, square.contains(&blocks.len())) {
                (1, _) => Padding::Same,
                (_, true) => Padding::Around(kernel / 2),
                (_, false) => Padding::Sides([kernel / 2 - 1, kernel / 2]),
            };
            let expand = layer("expansion", ["expand_conv", "expand_bn"]);
            let spec = BlockSpec {
                expand: builder.has(&expand[0]).then_some(expand),
                depthwise: layer("depthwise_conv", ["depthwise_conv", "depthwise_norm"]),
                squeeze: Some(layer("squeeze_excite", ["reduce", "expand"])),
                project: layer("projection", ["project_conv", "project_bn"]),
                stride,
                padding,
                activation,
                gate: [activation, Pointwise::Sigmoid],
                may_skip: number > 0,
                epsilon,
            };
            let [_, _, down, across] = builder.dimensions(&spec.depthwise[0])?;
            if [down, across] != [kernel; 2] {
                let what = format!("has {kernel}, the weights of {block} have {down} x {across}");
                return Err(config.error("kernel_sizes", what));
            }
            blocks.push(Layer::Block(Box::new(Block::take(builder, &spec)?)));
        }
    }
    let names = named(["encoder.top_conv", "encoder.top_bn"]);
    let head = Head::Pooled(take(builder, &names, epsilon, active)?);
    Ok(EfficientNet { stem, blocks, head })
}
