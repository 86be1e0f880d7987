//! The block of MobileNet and EfficientNet: a convolution for each channel by itself, between one that widens and one that narrows.
//!
//! ```text
//! x ─ conv 1 × 1, wide ─ conv k × k of each channel ─ squeeze and excite ─ conv 1 × 1, narrow ─ + x
//! ```
//! Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018; Hu et al., "Squeeze-and-excitation networks",
//! 2017. A block lacks the first convolution if it does not widen, and the squeeze in some models.

use candle_core::Tensor;

use super::builder::{BatchNorm, Builder, ConvolutionSpec, Padding};
use super::layers::{Conv, Linear, channel_means};
use crate::Result;
use crate::nn::{Pointwise, pointwise};

/// A convolution and the batch normalisation after it.
pub(super) type Names = [String; 2];

/// A block to take. Its widths are those of its weights.
#[derive(Debug)]
pub(super) struct BlockSpec {
    pub(super) expand: Option<Names>,
    pub(super) depthwise: Names,
    /// The two layers of the squeeze.
    pub(super) squeeze: Option<[String; 2]>,
    pub(super) project: Names,
    pub(super) stride: usize,
    pub(super) padding: Padding,
    pub(super) activation: Pointwise,
    /// The activation between the layers of the squeeze, and the one after them.
    pub(super) gate: [Pointwise; 2],
    /// Whether the input is added to the output, if both have the same shape.
    pub(super) may_skip: bool,
    pub(super) epsilon: f64,
}

/// A block with its weights.
#[derive(Debug)]
pub(super) struct Block {
    expand: Option<Conv>,
    depthwise: Conv,
    squeeze: Option<Squeeze>,
    project: Conv,
    skips: bool,
}

/// A factor for each channel, from the means of all.
#[derive(Debug)]
struct Squeeze {
    layers: [Linear; 2],
    gate: [Pointwise; 2],
}

/// A convolution with its batch normalisation, by their names; it has as many outputs as its weights.
pub(super) fn take(
    builder: &mut Builder<'_>,
    [name, norm]: &Names,
    epsilon: f64,
    spec: ConvolutionSpec,
) -> Result<Conv> {
    let [outputs, _, down, across] = builder.dimensions(name)?;
    let spec = ConvolutionSpec {
        outputs,
        kernel: [down, across],
        ..spec
    };
    let norm = BatchNorm {
        name: norm,
        epsilon,
    };
    builder.convolution(name, Some(norm), spec)
}

impl Block {
    /// Takes a block from the weights.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for weights that do not fit.
    pub(super) fn take(builder: &mut Builder<'_>, spec: &BlockSpec) -> Result<Self> {
        let before = (builder.channels, builder.size);
        let plain = ConvolutionSpec::square(1, 1);
        let active = ConvolutionSpec {
            activation: Some(spec.activation),
            ..plain
        };
        let epsilon = spec.epsilon;
        let expand = spec.expand.as_ref();
        let expand = expand.map(|names| take(builder, names, epsilon, active));
        let expand = expand.transpose()?;
        let depthwise = ConvolutionSpec {
            stride: [spec.stride; 2],
            padding: spec.padding,
            is_depthwise: true,
            ..active
        };
        let wide = builder.channels;
        let depthwise = take(builder, &spec.depthwise, epsilon, depthwise)?;
        let squeeze = spec.squeeze.as_ref();
        let squeeze = squeeze.map(|names| Squeeze::take(builder, names, wide, spec.gate));
        let squeeze = squeeze.transpose()?;
        let project = take(builder, &spec.project, epsilon, plain)?;
        Ok(Self {
            expand,
            depthwise,
            squeeze,
            project,
            skips: spec.may_skip && before == (builder.channels, builder.size),
        })
    }

    /// The output for `x` `[rows, channels, height, width]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = match &self.expand {
            Some(expand) => self.depthwise.forward(&expand.forward(x)?)?,
            None => self.depthwise.forward(x)?,
        };
        if let Some(squeeze) = &self.squeeze {
            y = squeeze.forward(&y)?;
        }
        let y = self.project.forward(&y)?;
        match self.skips {
            true => Ok((y + x)?),
            false => Ok(y),
        }
    }
}

impl Squeeze {
    fn take(
        builder: &mut Builder<'_>,
        [reduce, expand]: &[String; 2],
        channels: usize,
        gate: [Pointwise; 2],
    ) -> Result<Self> {
        let [narrow, ..] = builder.dimensions(reduce)?;
        let layers = [
            builder.linear(reduce, [channels, narrow], true)?,
            builder.linear(expand, [narrow, channels], true)?,
        ];
        Ok(Self { layers, gate })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut factors = channel_means(x)?;
        for (layer, activation) in self.layers.iter().zip(self.gate) {
            factors = pointwise(activation, &layer.forward(&factors)?)?;
        }
        let (rows, channels) = factors.dims2()?;
        Ok(x.broadcast_mul(&factors.reshape((rows, channels, 1, 1))?)?)
    }
}
