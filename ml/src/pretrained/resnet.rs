//! ResNet, of 18 to 152 layers.
//!
//! ```text
//! conv 7 × 7 / 2 ─ max pool 3 × 3 / 2 ─ four stages of blocks ─ mean
//! basic block        x + conv 3 × 3 (conv 3 × 3 (x))
//! bottleneck block   x + conv 1 × 1 (conv 3 × 3 (conv 1 × 1 (x)))
//! ```
//! He et al., "Deep residual learning for image recognition", 2015. The stride is that of the convolution of 3 × 3, as in PyTorch.

use std::sync::Arc;

use candle_core::Tensor;

use super::builder::{BatchNorm, Builder, ConvolutionSpec};
use super::config::{Config, EDGE_MAX, LAYERS_MAX, WIDTH_MAX};
use super::family::{Family, Origin, Source};
use super::image_model::{ImageModel, ImageNetwork, Parts, builder};
use super::layers::{Conv, activation, channel_means};
use crate::Result;
use crate::model::Model;
use crate::nn::{Pointwise, Pooling, Window, pointwise, pool};

pub(super) const FAMILY: Family = Family {
    model_type: "resnet",
    architectures: &["ResNetForImageClassification", "ResNetModel"],
    timm: &["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"],
    open,
    open_texts: None,
};

/// The pooling after the first convolution.
const POOL: Window = Window {
    kernel: [3; 2],
    stride: [2; 2],
    padding: [1; 2],
};
const EPSILON: f64 = 1e-5;

fn open(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    let config = &source.config;
    let size = config.pair("image_size", Some(224), 1..=EDGE_MAX)?;
    let (mut builder, preprocess) = builder(source, size)?;
    let (network, head) = match source.origin {
        Origin::HuggingFace => (of_hugging_face(config, &mut builder)?, "classifier.1"),
        Origin::Timm => {
            source.pooling(&["avg"])?;
            source.check_arguments(&["layers", "channels"])?;
            (of_timm(&source.architecture, &mut builder)?, "fc")
        }
    };
    let width = builder.channels;
    let parts = Parts::with_head(&mut builder, preprocess, network, (width, head))?;
    ImageModel::open(source, &builder, parts, |_| false)
}

#[derive(Debug)]
struct ResNet {
    stem: Conv,
    blocks: Vec<Block>,
    activation: Pointwise,
}

/// Convolutions with a way around them.
#[derive(Debug)]
struct Block {
    inner: Vec<Conv>,
    /// The way around, if the shape changes.
    shortcut: Option<Conv>,
}

impl ImageNetwork for ResNet {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = pool(&self.stem.forward(images)?, POOL, Pooling::Max)?;
        for block in &self.blocks {
            x = pointwise(self.activation, &block.forward(&x)?)?;
        }
        channel_means(&x)
    }
}

impl Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = x.clone();
        for layer in &self.inner {
            y = layer.forward(&y)?;
        }
        match &self.shortcut {
            None => Ok((y + x)?),
            Some(shortcut) => Ok((y + shortcut.forward(x)?)?),
        }
    }
}

/// The convolutions of a block: their windows, outputs and strides.
struct BlockSpec {
    inner: Vec<(ConvolutionSpec, [String; 2])>,
    outputs: usize,
    stride: usize,
    shortcut: [String; 2],
}

fn take_block(builder: &mut Builder<'_>, spec: &BlockSpec) -> Result<Block> {
    let (channels, size) = (builder.channels, builder.size);
    let mut inner = vec![];
    for (convolution, names) in &spec.inner {
        inner.push(take(builder, names, *convolution)?);
    }
    let is_changed = channels != spec.outputs || spec.stride != 1;
    let after = (builder.channels, builder.size);
    (builder.channels, builder.size) = (channels, size);
    let shortcut = is_changed.then(|| {
        let convolution = ConvolutionSpec {
            stride: [spec.stride; 2],
            ..ConvolutionSpec::square(spec.outputs, 1)
        };
        take(builder, &spec.shortcut, convolution)
    });
    let shortcut = shortcut.transpose()?;
    (builder.channels, builder.size) = after;
    Ok(Block { inner, shortcut })
}

/// A convolution and the batch normalisation after it, by their names.
fn take(
    builder: &mut Builder<'_>,
    [convolution, norm]: &[String; 2],
    spec: ConvolutionSpec,
) -> Result<Conv> {
    let norm = BatchNorm {
        name: norm,
        epsilon: EPSILON,
    };
    builder.convolution(convolution, Some(norm), spec)
}

fn stem(outputs: usize, activation: Pointwise) -> ConvolutionSpec {
    ConvolutionSpec {
        stride: [2; 2],
        activation: Some(activation),
        ..ConvolutionSpec::square(outputs, 7)
    }
}

/// The windows, outputs and strides of the convolutions of a block; all but the last have an activation, whatever `hidden_act`
/// is.
fn inner(
    is_bottleneck: bool,
    [narrow, outputs]: [usize; 2],
    [first_stride, stride]: [usize; 2],
) -> Vec<ConvolutionSpec> {
    let spec = |outputs: usize, kernel: usize, stride: usize, is_last: bool| ConvolutionSpec {
        stride: [stride; 2],
        activation: (!is_last).then_some(Pointwise::Relu),
        ..ConvolutionSpec::square(outputs, kernel)
    };
    match is_bottleneck {
        true => vec![
            spec(narrow, 1, first_stride, false),
            spec(narrow, 3, stride, false),
            spec(outputs, 1, 1, true),
        ],
        false => vec![spec(narrow, 3, stride, false), spec(outputs, 3, 1, true)],
    }
}

fn of_hugging_face(config: &Config, builder: &mut Builder<'_>) -> Result<ResNet> {
    let activation = activation(config, "relu")?;
    let widths = config.wholes("hidden_sizes", &[256, 512, 1024, 2048], 1..=WIDTH_MAX)?;
    let depths = config.wholes("depths", &[3, 4, 6, 3], 1..=LAYERS_MAX)?;
    if widths.len() != depths.len() {
        return Err(config.error("depths", "and hidden_sizes have different lengths"));
    }
    let is_bottleneck = match config.text("layer_type")?.unwrap_or("bottleneck") {
        "bottleneck" => true,
        "basic" => false,
        other => {
            let what = format!("is \"{other}\"; expected basic or bottleneck");
            return Err(config.error("layer_type", what));
        }
    };
    let is_first_strided = config.flag("downsample_in_first_stage", false)?;
    let in_bottleneck = config.flag("downsample_in_bottleneck", false)?;
    let prefix = match builder.has("resnet.embedder.embedder.convolution") {
        true => "resnet.",
        false => "",
    };
    let named =
        |layer: &str| ["convolution", "normalization"].map(|of| format!("{prefix}{layer}.{of}"));
    let embedding = config.whole("embedding_size", Some(64), 1..=WIDTH_MAX)?;
    let first = take(
        builder,
        &named("embedder.embedder"),
        stem(embedding, activation),
    )?;
    builder.pool("embedder.pooler", POOL)?;
    let mut blocks = vec![];
    for (stage, (&outputs, &depth)) in widths.iter().zip(&depths).enumerate() {
        for number in 0..depth {
            let is_strided = number == 0 && (stage > 0 || is_first_strided);
            let stride = if is_strided { 2 } else { 1 };
            let strides = match is_bottleneck && in_bottleneck {
                true => [stride, 1],
                false => [1, stride],
            };
            let narrow = if is_bottleneck { outputs / 4 } else { outputs };
            let name = format!("encoder.stages.{stage}.layers.{number}");
            let layers = inner(is_bottleneck, [narrow, outputs], strides);
            let layers = layers.into_iter().enumerate();
            let spec = BlockSpec {
                inner: layers
                    .map(|(at, layer)| (layer, named(&format!("{name}.layer.{at}"))))
                    .collect(),
                outputs,
                stride,
                shortcut: named(&format!("{name}.shortcut")),
            };
            blocks.push(take_block(builder, &spec)?);
        }
    }
    Ok(ResNet {
        stem: first,
        blocks,
        activation,
    })
}

/// The widths and depths are those of the weights.
fn of_timm(architecture: &str, builder: &mut Builder<'_>) -> Result<ResNet> {
    let activation = Pointwise::Relu;
    let is_bottleneck = !matches!(architecture, "resnet18" | "resnet34");
    let [width, ..] = builder.dimensions("conv1")?;
    let names = ["conv1".to_owned(), "bn1".to_owned()];
    let first = take(builder, &names, stem(width, activation))?;
    builder.pool("maxpool", POOL)?;
    let mut blocks = vec![];
    for stage in 1..=4 {
        // A stage without blocks lacks its first.
        let depth = builder.weights.count(&format!("layer{stage}.")).max(1);
        for number in 0..depth {
            let name = format!("layer{stage}.{number}");
            let [narrow, ..] = builder.dimensions(&format!("{name}.conv1"))?;
            let last = if is_bottleneck { "conv3" } else { "conv2" };
            let [outputs, ..] = builder.dimensions(&format!("{name}.{last}"))?;
            let stride = if number == 0 && stage > 1 { 2 } else { 1 };
            let layers = inner(is_bottleneck, [narrow, outputs], [1, stride]);
            let layers = (1..).zip(layers);
            let spec = BlockSpec {
                inner: layers
                    .map(|(at, layer)| {
                        (
                            layer,
                            [format!("{name}.conv{at}"), format!("{name}.bn{at}")],
                        )
                    })
                    .collect(),
                outputs,
                stride,
                shortcut: [0, 1].map(|at| format!("{name}.downsample.{at}")),
            };
            blocks.push(take_block(builder, &spec)?);
        }
    }
    Ok(ResNet {
        stem: first,
        blocks,
        activation,
    })
}
