//! `conv1d` and `conv2d`

use std::slice::Iter;

use candle_core::Tensor;

use super::layer::{Function, Input, Layer, Placed, next, operations};
use super::text::{Arguments, Width, invalid, whole};
use crate::Result;
use crate::model::network::Mode;
use crate::nn::{Activation, Convolution, Window, convolution};

/// The largest kernel.
pub(super) const KERNEL_MAX: usize = 1_024;

#[derive(Debug)]
struct Conv {
    /// 1 for sequences, 2 for images.
    dimensions: usize,
    channels: Width,
    kernel: usize,
    stride: usize,
    padding: usize,
    groups: usize,
}

pub(super) fn read_1d(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, 1)
}

pub(super) fn read_2d(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, 2)
}

fn read(arguments: &mut Arguments<'_>, dimensions: usize) -> Result<Box<dyn Layer>> {
    let channels = arguments.width("channels")?;
    let kernel = arguments.whole("kernel", None, 1..=KERNEL_MAX)?;
    let stride = arguments.whole("stride", Some(1), 1..=KERNEL_MAX)?;
    let padding = match arguments.text("padding")? {
        None => 0,
        Some(text) if text.eq_ignore_ascii_case("same") => same(kernel, stride)?,
        Some(text) => whole("padding", text, 0..=KERNEL_MAX)
            .map_err(|error| invalid(format!("{error}, or same")))?,
    };
    Ok(Box::new(Conv {
        dimensions,
        channels,
        kernel,
        stride,
        padding,
        groups: arguments.whole("groups", Some(1), 1..=usize::from(u16::MAX))?,
    }))
}

/// The padding with which the output has the size of the input.
fn same(kernel: usize, stride: usize) -> Result<usize> {
    match kernel % 2 == 1 && stride == 1 {
        true => Ok(kernel / 2),
        false => Err(invalid("padding=same needs an odd kernel and stride=1")),
    }
}

impl Layer for Conv {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let (channels, size) = channels_and_size(input, self.dimensions)?;
        let window = window(self.dimensions, self.kernel, self.stride, self.padding);
        let positions = positions(input, &window, size)?;
        let outputs = self.channels.number(input.outputs);
        let groups = self.groups;
        if !channels.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            return Err(invalid(format!(
                "groups={groups} does not divide the channels of its input {:?} and its own {outputs}",
                input.shape
            )));
        }
        let inputs = channels / groups * window.area();
        let [down, across] = window.kernel;
        let weight = vec![outputs, channels / groups, down, across];
        let convolution = Convolution { window, groups };
        let output = shape(outputs, positions, self.dimensions);
        let function = Windows {
            dimensions: self.dimensions,
            convolution,
            activation: None,
        };
        Ok(Placed {
            parameters: input.weight_and_bias(weight, inputs, outputs),
            flops: operations(&[2, inputs, outputs, positions[0], positions[1]]),
            scratch_bytes: convolution.scratch_bytes(channels, size),
            ..Placed::plain(input, output, function)
        })
    }

    fn has_classes(&self) -> bool {
        self.channels == Width::Classes
    }
}

/// The channels of an input, and its height and width; a sequence has height 1.
pub(super) fn channels_and_size(
    input: &Input<'_>,
    dimensions: usize,
) -> Result<(usize, [usize; 2])> {
    match (dimensions, input.shape) {
        (1, &[channels, length]) => Ok((channels, [1, length])),
        (2, &[channels, height, width]) => Ok((channels, [height, width])),
        (1, _) => Err(input.needs("[channels, length]")),
        _ => Err(input.needs("[channels, height, width]")),
    }
}

pub(super) fn window(dimensions: usize, kernel: usize, stride: usize, padding: usize) -> Window {
    match dimensions {
        1 => Window::line(kernel, stride, padding),
        _ => Window::square(kernel, stride, padding),
    }
}

pub(super) fn positions(
    input: &Input<'_>,
    window: &Window,
    size: [usize; 2],
) -> Result<[usize; 2]> {
    window.positions(size).ok_or_else(|| {
        let kernel = window.kernel[1];
        invalid(format!(
            "a kernel of {kernel} is larger than its input of {:?}",
            input.shape
        ))
    })
}

/// The dimensions of an output.
pub(super) fn shape(channels: usize, positions: [usize; 2], dimensions: usize) -> Vec<usize> {
    let mut shape = vec![channels];
    shape.extend(&positions[2 - dimensions..]);
    shape
}

/// Applies a function of images `[rows, channels, height, width]` to images, or to sequences as images of height 1.
pub(super) fn as_images(
    x: &Tensor,
    dimensions: usize,
    function: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    match dimensions {
        1 => Ok(function(&x.unsqueeze(2)?)?.squeeze(2)?),
        _ => function(x),
    }
}

#[derive(Debug)]
struct Windows {
    dimensions: usize,
    convolution: Convolution,
    activation: Option<Activation>,
}

impl Function for Windows {
    fn forward(
        &self,
        x: &Tensor,
        parameters: &mut Iter<'_, Tensor>,
        _mode: &mut Mode<'_>,
    ) -> Result<Tensor> {
        let (weight, bias) = (next(parameters)?, next(parameters)?);
        as_images(x, self.dimensions, |x| {
            convolution(x, weight, bias, self.convolution, self.activation)
        })
    }

    fn fuse(&mut self, activation: Activation) -> bool {
        if self.activation.is_some() {
            return false;
        }
        self.activation = Some(activation);
        true
    }
}
