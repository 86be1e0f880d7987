//! Layers of networks with their tensors, as `builder` takes them from weights.

use candle_core::{Device, Tensor};

use super::config::Config;
use crate::Result;
use crate::artifact::{WEIGHTS_FILE, corrupt};
use crate::nn::{
    Activation, Convolution, Pointwise, Pooling, Runs, Window, convolution, linear, normalise_with,
    pointwise, pool,
};

/// A convolution with its batch normalisation and its activation.
#[derive(Debug)]
pub(super) struct Conv {
    /// `[outputs, channels of a group, height, width]`
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    pub(super) convolution: Convolution,
    /// Zeros above and below, left and right, if the sides differ.
    pub(super) padding: Option<[[usize; 2]; 2]>,
    pub(super) activation: Option<Pointwise>,
}

impl Conv {
    /// The output for `x` `[rows, channels, height, width]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let padded = match self.padding {
            None => None,
            Some([[top, bottom], [left, right]]) => {
                let rows = x.pad_with_zeros(2, top, bottom)?;
                Some(rows.pad_with_zeros(3, left, right)?)
            }
        };
        let x = padded.as_ref().unwrap_or(x);
        let fused = (self.activation == Some(Pointwise::Relu)).then_some(Activation::Relu);
        let y = convolution(x, &self.weight, &self.bias, self.convolution, fused)?;
        match self.activation {
            Some(activation) if fused.is_none() => pointwise(activation, &y),
            _ => Ok(y),
        }
    }
}

/// A linear layer.
#[derive(Debug)]
pub(super) struct Linear {
    /// `[inputs, outputs]`
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// A layer with this `weight` `[outputs, inputs]`.
    pub(super) fn new(weight: Vec<f32>, bias: Vec<f32>, device: &Device) -> Result<Self> {
        let outputs = bias.len();
        if outputs == 0 {
            return Err(corrupt(WEIGHTS_FILE, "a layer without outputs"));
        }
        let inputs = weight.len() / outputs;
        let weight = Tensor::from_vec(weight, (outputs, inputs), &Device::Cpu)?;
        Ok(Self {
            weight: weight.t()?.contiguous()?.to_device(device)?,
            bias: Tensor::from_vec(bias, outputs, device)?,
        })
    }

    /// The numbers of an output.
    pub(super) fn outputs(&self) -> usize {
        self.bias.elem_count()
    }

    /// The output for `x` `[…, inputs]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut shape = x.dims().to_vec();
        let inputs = shape.pop().unwrap_or(1);
        let vectors = x.reshape((x.elem_count() / inputs.max(1), inputs))?;
        let y = linear(&vectors, &self.weight, &self.bias, None)?;
        shape.push(self.outputs());
        Ok(y.reshape(shape)?)
    }
}

/// Layer normalisation.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    /// Added to a variance.
    pub(super) epsilon: f64,
}

impl LayerNorm {
    /// The vectors `x` `[…, width]`, normalised.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let runs = Runs {
            width: self.weight.elem_count(),
            positions: 1,
        };
        normalise_with(x, &self.weight, &self.bias, runs, self.epsilon)
    }
}

/// The function that `hidden_act` of a description names.
pub(super) fn activation(config: &Config, default: &str) -> Result<Pointwise> {
    activation_of(config, "hidden_act", default)
}

/// The function that a field of a description names.
pub(super) fn activation_of(config: &Config, field: &str, default: &str) -> Result<Pointwise> {
    let name = config.text(field)?.unwrap_or(default);
    let function = Pointwise::named(name);
    let problem = || format!("is \"{name}\", which is not supported");
    function.ok_or_else(|| config.unsupported(field, problem()))
}

/// The mean of each channel of `x` `[rows, channels, height, width]`: `[rows, channels]`.
pub(super) fn channel_means(x: &Tensor) -> Result<Tensor> {
    let (rows, channels, height, width) = x.dims4()?;
    let window = Window {
        kernel: [height, width],
        stride: [1; 2],
        padding: [0; 2],
    };
    Ok(pool(x, window, Pooling::Mean)?.reshape((rows, channels))?)
}

/// Images `[rows, channels, height, width]` as `[rows, height, width, channels]`.
pub(super) fn channels_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.permute((0, 2, 3, 1))?.contiguous()?)
}

/// Images `[rows, height, width, channels]` as `[rows, channels, height, width]`.
pub(super) fn channels_first(x: &Tensor) -> Result<Tensor> {
    Ok(x.permute((0, 3, 1, 2))?.contiguous()?)
}
