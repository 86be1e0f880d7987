//! MobileNet v2 of Hugging Face and timm, and MobileNet v3 of timm.
//!
//! Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018; Howard et al., "Searching for MobileNetV3", 2019.

use std::sync::Arc;

use candle_core::Tensor;

use super::builder::{Builder, ConvolutionSpec, Padding};
use super::config::EDGE_MAX;
use super::efficientnet::{self, Kind};
use super::family::{Family, Origin, Source};
use super::image_model::{ImageModel, ImageNetwork, Parts, builder};
use super::inverted_residual::{Block, BlockSpec, Names, take};
use super::layers::{Conv, activation, channel_means};
use crate::model::Model;
use crate::nn::Pointwise;
use crate::{Error, Result};

pub(super) const FAMILY: Family = Family {
    model_type: "mobilenet_v2",
    architectures: &["MobileNetV2ForImageClassification", "MobileNetV2Model"],
    timm: &[
        "mobilenetv2_050",
        "mobilenetv2_100",
        "mobilenetv2_140",
        "mobilenetv2_110d",
        "mobilenetv2_120d",
        "mobilenetv3_small_050",
        "mobilenetv3_small_075",
        "mobilenetv3_small_100",
        "mobilenetv3_large_100",
        "tf_mobilenetv3_small_075",
        "tf_mobilenetv3_small_100",
        "tf_mobilenetv3_large_075",
        "tf_mobilenetv3_large_100",
    ],
    open,
    open_texts: None,
};

/// The strides of the blocks after the first.
const STRIDES: [usize; 16] = [2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1];

fn open(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    match source.origin {
        Origin::Timm => efficientnet::open_timm(source, kind(&source.architecture)),
        Origin::HuggingFace => open_hugging_face(source),
    }
}

/// The kind of a model of timm.
fn kind(architecture: &str) -> Kind {
    let (is_of_tensorflow, name) = match architecture.strip_prefix("tf_") {
        Some(name) => (true, name),
        None => (false, architecture),
    };
    let plain = Kind {
        is_of_tensorflow,
        ..Kind::default()
    };
    if name.starts_with("mobilenetv2") {
        return Kind {
            activation: Pointwise::Relu6,
            ..plain
        };
    }
    let (strides, plain_stages): (&[usize], usize) = match name.contains("small") {
        true => (&[2, 2, 2, 1, 2, 1], 2),
        false => (&[1, 2, 2, 2, 1, 2, 1], 3),
    };
    Kind {
        strides,
        plain_stages,
        activation: Pointwise::HardSwish,
        gate: [Pointwise::Relu, Pointwise::HardSigmoid],
        is_pooled_before_head: true,
        ..plain
    }
}

#[derive(Debug)]
struct MobileNet {
    stem: Conv,
    blocks: Vec<Block>,
    last: Conv,
}

impl ImageNetwork for MobileNet {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = self.stem.forward(images)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        channel_means(&self.last.forward(&x)?)
    }
}

fn open_hugging_face(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    let size = source.config.pair("image_size", Some(224), 1..=EDGE_MAX)?;
    let (mut builder, preprocess) = builder(source, size)?;
    let network = of_hugging_face(source, &mut builder)?;
    let width = builder.channels;
    let parts = Parts::with_head(&mut builder, preprocess, network, (width, "classifier"))?;
    ImageModel::open(source, &builder, parts, |_| false)
}

fn of_hugging_face(source: &Source<'_>, builder: &mut Builder<'_>) -> Result<MobileNet> {
    let config = &source.config;
    let stride = config.whole("output_stride", Some(32), 1..=32)?;
    if stride != 32 {
        return Err(Error::Unsupported(format!(
            "{}: output_stride is {stride}, and this build opens only models in which it is 32",
            config.file()
        )));
    }
    let activation = activation(config, "relu6")?;
    let epsilon = config.epsilon("layer_norm_eps", 0.001)?;
    let padding = match config.flag("tf_padding", true)? {
        true => Padding::Same,
        false => Padding::Around(1),
    };
    let is_expansion = config.flag("first_layer_is_expansion", true)?;
    let prefix = match builder.has("mobilenet_v2.conv_stem.first_conv.convolution") {
        true => "mobilenet_v2.",
        false => "",
    };
    let named = |layer: &str| -> Names {
        ["convolution", "normalization"].map(|of| format!("{prefix}{layer}.{of}"))
    };
    let active = ConvolutionSpec {
        activation: Some(activation),
        ..ConvolutionSpec::square(1, 1)
    };
    let first = ConvolutionSpec {
        stride: [2; 2],
        padding,
        ..active
    };
    let stem = take(builder, &named("conv_stem.first_conv"), epsilon, first)?;
    let block = |name: &str, expands: bool, stride: usize| BlockSpec {
        expand: expands.then(|| named(&format!("{name}.expand_1x1"))),
        depthwise: named(&format!("{name}.conv_3x3")),
        squeeze: None,
        project: named(&format!("{name}.reduce_1x1")),
        stride,
        padding,
        activation,
        gate: [activation; 2],
        may_skip: stride == 1,
        epsilon,
    };
    // The first block never adds its input.
    let first = BlockSpec {
        may_skip: false,
        ..block("conv_stem", !is_expansion, 1)
    };
    let mut blocks = vec![Block::take(builder, &first)?];
    for (number, stride) in STRIDES.into_iter().enumerate() {
        let spec = block(&format!("layer.{number}"), true, stride);
        blocks.push(Block::take(builder, &spec)?);
    }
    let last = take(builder, &named("conv_1x1"), epsilon, active)?;
    Ok(MobileNet { stem, blocks, last })
}
