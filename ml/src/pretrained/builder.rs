//! [`Builder`]: takes the layers of a network from its weights, in the order in which images go through them.
//!
//! The builder knows the shape of an image between the layers, so that each tensor is compared with the shape that it must have,
//! and an image that is too small for a layer is an error when the model is opened. Batch normalisation, whose statistics are
//! constants here, becomes a part of the convolution before it.

use candle_core::{Device, Tensor};

use super::layers::{Conv, LayerNorm, Linear};
use super::row_numbers::RowNumbers;
use super::weights::Weights;
use crate::artifact::{WEIGHTS_FILE, corrupt};
use crate::nn::{Convolution, Pointwise, Window};
use crate::{Error, Result};

/// Takes the layers of a network from its weights.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    pub(super) weights: Weights,
    device: &'a Device,
    /// The channels of an image after the last layer.
    pub(super) channels: usize,
    /// The height and the width of an image after the last layer.
    pub(super) size: [usize; 2],
    numbers: RowNumbers,
}

/// A convolution to take.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConvolutionSpec {
    pub(super) outputs: usize,
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: Padding,
    /// Whether each channel sees only itself.
    pub(super) is_depthwise: bool,
    pub(super) has_bias: bool,
    pub(super) activation: Option<Pointwise>,
}

/// The zeros around an image.
#[derive(Debug, Clone, Copy)]
pub(super) enum Padding {
    /// On each side.
    Around(usize),
    /// Above and on the left, below and on the right.
    Sides([usize; 2]),
    /// As many as TensorFlow has for `SAME`: the output has the size of the input divided by the stride, rounded up.
    Same,
}

/// Batch normalisation after a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchNorm<'a> {
    pub(super) name: &'a str,
    pub(super) epsilon: f64,
}

impl ConvolutionSpec {
    /// A convolution with a square window, without bias and activation, whose padding keeps the size at stride 1.
    pub(super) fn square(outputs: usize, kernel: usize) -> Self {
        Self {
            outputs,
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: Padding::Around(kernel / 2),
            is_depthwise: false,
            has_bias: false,
            activation: None,
        }
    }

    /// A convolution that cuts an image into patches.
    pub(super) fn patches(outputs: usize, patch: [usize; 2], has_bias: bool) -> Self {
        Self {
            kernel: patch,
            stride: patch,
            padding: Padding::Around(0),
            has_bias,
            ..Self::square(outputs, 1)
        }
    }
}

impl<'a> Builder<'a> {
    /// A builder for images with these channels, and of this height and width.
    pub(super) fn new(
        weights: Weights,
        device: &'a Device,
        channels: usize,
        size: [usize; 2],
    ) -> Self {
        let mut builder = Self {
            weights,
            device,
            channels,
            size,
            numbers: RowNumbers::default(),
        };
        builder.count(channels * size[0] * size[1]);
        builder
    }

    /// The numbers that the layers have for a row.
    pub(super) fn numbers(&self) -> RowNumbers {
        self.numbers
    }

    /// The device of the weights.
    pub(super) fn device(&self) -> &'a Device {
        self.device
    }

    /// Counts the numbers that a layer has for a row.
    pub(super) fn count(&mut self, numbers: usize) {
        self.numbers.count(numbers);
    }

    /// Whether there are weights of a layer of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.weights.has(&format!("{name}.weight"))
    }

    /// The four dimensions of the weights of a convolution: outputs, channels of a group, height and width of the window.
    pub(super) fn dimensions(&self, name: &str) -> Result<[usize; 4]> {
        let name = format!("{name}.weight");
        let shape = self.weights.shape(&name)?;
        <[usize; 4]>::try_from(shape).map_err(|_| {
            let what =
                format!("tensor \"{name}\" has the shape {shape:?}, expected four dimensions");
            corrupt(WEIGHTS_FILE, what)
        })
    }

    /// A vector of the device.
    pub(super) fn vector(&mut self, name: &str, width: usize) -> Result<Tensor> {
        let values = self.weights.take(name, &[width])?;
        Ok(Tensor::from_vec(values, width, self.device)?)
    }

    /// A convolution of the channels after the last layer, with the batch normalisation after it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a tensor that does not fit; [`Error::Unsupported`] if images are too small.
    pub(super) fn convolution(
        &mut self,
        name: &str,
        norm: Option<BatchNorm<'_>>,
        spec: ConvolutionSpec,
    ) -> Result<Conv> {
        let channels = self.channels;
        let groups = if spec.is_depthwise { channels } else { 1 };
        let (outputs, [down, across]) = (spec.outputs, spec.kernel);
        let sizes = [outputs, down, across, spec.stride[0], spec.stride[1]];
        if sizes.contains(&0) {
            let what = format!("tensor \"{name}.weight\" has a dimension 0");
            return Err(corrupt(WEIGHTS_FILE, what));
        }
        let shape = [outputs, channels / groups, down, across];
        let mut weight = self.weights.take(&format!("{name}.weight"), &shape)?;
        let mut bias = match spec.has_bias {
            true => self.weights.take(&format!("{name}.bias"), &[outputs])?,
            false => vec![0.0; outputs],
        };
        if let Some(norm) = norm {
            self.fold(norm, &mut weight, &mut bias)?;
        }
        let sides = spec.sides(self.size);
        let [[top, bottom], [left, right]] = sides;
        // The layer itself has the same padding on both sides.
        let is_even = top == bottom && left == right;
        let window = Window {
            kernel: spec.kernel,
            stride: spec.stride,
            padding: if is_even { [top, left] } else { [0; 2] },
        };
        let padded = match is_even {
            true => self.size,
            false => [self.size[0] + top + bottom, self.size[1] + left + right],
        };
        self.size = self.positions(name, window, padded)?;
        self.channels = outputs;
        self.count(outputs * self.size[0] * self.size[1]);
        Ok(Conv {
            weight: Tensor::from_vec(weight, shape.to_vec(), self.device)?,
            bias: Tensor::from_vec(bias, outputs, self.device)?,
            convolution: Convolution { window, groups },
            padding: (!is_even).then_some(sides),
            activation: spec.activation,
        })
    }

    fn positions(&self, name: &str, window: Window, size: [usize; 2]) -> Result<[usize; 2]> {
        window.positions(size).ok_or_else(|| {
            Error::Unsupported(format!(
                "images of the size that the files describe are too small for the model: layer {name} gets {} x {} pixels",
                self.size[1], self.size[0]
            ))
        })
    }

    /// Multiplies a convolution by the factors of its batch normalisation, and adds the summands.
    fn fold(&mut self, norm: BatchNorm<'_>, weight: &mut [f32], bias: &mut [f32]) -> Result<()> {
        let outputs = bias.len();
        let mut take = |what: &str| {
            let name = format!("{}.{what}", norm.name);
            self.weights.take(&name, &[outputs])
        };
        let (factor, summand) = (take("weight")?, take("bias")?);
        let (mean, variance) = (take("running_mean")?, take("running_var")?);
        let of_output = weight.len() / outputs;
        for (output, weight) in weight.chunks_exact_mut(of_output).enumerate() {
            let deviation = (f64::from(variance[output]) + norm.epsilon).sqrt();
            let factor = f64::from(factor[output]) / deviation;
            if !factor.is_finite() {
                let what = format!("\"{}.running_var\" has a variance below 0", norm.name);
                return Err(corrupt(WEIGHTS_FILE, what));
            }
            for weight in weight {
                *weight = (f64::from(*weight) * factor) as f32;
            }
            let centred = f64::from(bias[output]) - f64::from(mean[output]);
            bias[output] = (centred * factor + f64::from(summand[output])) as f32;
        }
        Ok(())
    }

    /// The size of an image after a window has moved over it.
    pub(super) fn pool(&mut self, name: &str, window: Window) -> Result<()> {
        self.size = self.positions(name, window, self.size)?;
        self.count(self.channels * self.size[0] * self.size[1]);
        Ok(())
    }

    /// A linear layer of vectors with `inputs` numbers. The weights of a convolution with a window of one pixel are such a layer.
    pub(super) fn linear(
        &mut self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        has_bias: bool,
    ) -> Result<Linear> {
        let (weight, bias) = self.weight_and_bias(name, [inputs, outputs], has_bias)?;
        Linear::new(weight, bias, self.device)
    }

    /// The weight `[outputs, inputs]` and the bias of a linear layer.
    fn weight_and_bias(
        &mut self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        has_bias: bool,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let weight_name = format!("{name}.weight");
        let shape = match self.weights.shape(&weight_name)?.len() {
            4 => vec![outputs, inputs, 1, 1],
            _ => vec![outputs, inputs],
        };
        let weight = self.weights.take(&weight_name, &shape)?;
        let bias = match has_bias {
            true => self.weights.take(&format!("{name}.bias"), &[outputs])?,
            false => vec![0.0; outputs],
        };
        Ok((weight, bias))
    }

    /// A linear layer whose outputs are multiplied by `scale`.
    pub(super) fn scaled_linear(
        &mut self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        scale: &[f32],
    ) -> Result<Linear> {
        let (mut weight, mut bias) = self.weight_and_bias(name, [inputs, outputs], true)?;
        let rows = weight.chunks_exact_mut(inputs).zip(&mut bias);
        for ((weight, bias), scale) in rows.zip(scale) {
            weight.iter_mut().for_each(|weight| *weight *= scale);
            *bias *= scale;
        }
        Linear::new(weight, bias, self.device)
    }

    /// Three linear layers whose weights are one after the other in one tensor, as are their biases.
    pub(super) fn three_linear(
        &mut self,
        [weight, bias]: &[String; 2],
        width: usize,
    ) -> Result<[Linear; 3]> {
        let weight = self.weights.take(weight, &[3 * width, width])?;
        let bias = self.weights.take(bias, &[3 * width])?;
        let part = |part: usize| {
            let weight = weight[part * width * width..][..width * width].to_vec();
            let bias = bias[part * width..][..width].to_vec();
            Linear::new(weight, bias, self.device)
        };
        Ok([part(0)?, part(1)?, part(2)?])
    }

    /// The linear layer that ends a classifier, if there is one: as many outputs as its weights have.
    pub(super) fn head(&mut self, name: &str, inputs: usize) -> Result<Option<Linear>> {
        if !self.has(name) {
            return Ok(None);
        }
        let shape = self.weights.shape(&format!("{name}.weight"))?;
        let outputs = shape.first().copied().unwrap_or(0);
        self.linear(name, [inputs, outputs], true).map(Some)
    }

    /// Layer normalisation of vectors.
    pub(super) fn layer_norm(
        &mut self,
        name: &str,
        width: usize,
        epsilon: f64,
    ) -> Result<LayerNorm> {
        Ok(LayerNorm {
            weight: self.vector(&format!("{name}.weight"), width)?,
            bias: self.vector(&format!("{name}.bias"), width)?,
            epsilon,
        })
    }
}

impl ConvolutionSpec {
    /// The zeros above, below, left and right of an image of this size.
    fn sides(&self, size: [usize; 2]) -> [[usize; 2]; 2] {
        let same = |axis: usize| {
            let (kernel, stride) = (self.kernel[axis], self.stride[axis]);
            let covered = (size[axis].div_ceil(stride) - 1) * stride + kernel;
            let missing = covered.saturating_sub(size[axis]);
            [missing / 2, missing - missing / 2]
        };
        match self.padding {
            Padding::Around(padding) => [[padding; 2]; 2],
            Padding::Sides(sides) => [sides; 2],
            Padding::Same => [same(0), same(1)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_that_of_tensorflow() {
        let sides = |kernel: usize, stride: usize, size: usize| {
            let spec = ConvolutionSpec {
                stride: [stride; 2],
                padding: Padding::Same,
                ..ConvolutionSpec::square(1, kernel)
            };
            spec.sides([size; 2])[0]
        };
        // `tf.nn.conv2d(…, padding='SAME')`: an odd number of zeros has one more at the end.
        for (kernel, stride, size, expected) in [
            (3, 1, 7, [1, 1]),
            (3, 2, 8, [0, 1]),
            (3, 2, 7, [1, 1]),
            (5, 2, 8, [1, 2]),
            (5, 2, 7, [2, 2]),
            (4, 1, 8, [1, 2]),
            (1, 2, 8, [0, 0]),
        ] {
            assert_eq!(
                sides(kernel, stride, size),
                expected,
                "{kernel}, {stride}, {size}"
            );
        }
    }
}
