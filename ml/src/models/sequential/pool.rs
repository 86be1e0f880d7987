//! `max_pool1d`, `max_pool2d`, `avg_pool1d`, `avg_pool2d`, `global_max_pool` and `global_avg_pool`

use std::slice::Iter;

use candle_core::Tensor;

use super::convolution::{KERNEL_MAX, as_images, channels_and_size, positions, shape, window};
use super::layer::{Function, Input, Layer, Placed, operations};
use super::text::{Arguments, invalid};
use crate::Result;
use crate::model::network::Mode;
use crate::nn::{Pooling, Window, pool};

#[derive(Debug)]
struct Pool {
    dimensions: usize,
    pooling: Pooling,
    kernel: usize,
    stride: usize,
    padding: usize,
}

#[derive(Debug)]
struct GlobalPool(Pooling);

pub(super) fn read_max_1d(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, 1, Pooling::Max)
}

pub(super) fn read_max_2d(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, 2, Pooling::Max)
}

pub(super) fn read_mean_1d(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, 1, Pooling::Mean)
}

pub(super) fn read_mean_2d(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, 2, Pooling::Mean)
}

pub(super) fn read_global_max(_arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(GlobalPool(Pooling::Max)))
}

pub(super) fn read_global_mean(_arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(GlobalPool(Pooling::Mean)))
}

fn read(
    arguments: &mut Arguments<'_>,
    dimensions: usize,
    pooling: Pooling,
) -> Result<Box<dyn Layer>> {
    let kernel = arguments.whole("kernel", None, 1..=KERNEL_MAX)?;
    let stride = arguments.whole("stride", Some(kernel), 1..=KERNEL_MAX)?;
    let padding = arguments.whole("padding", Some(0), 0..=KERNEL_MAX)?;
    if padding > kernel / 2 {
        return Err(invalid(format!(
            "padding is {padding}; expected at most half of the kernel of {kernel}"
        )));
    }
    Ok(Box::new(Pool {
        dimensions,
        pooling,
        kernel,
        stride,
        padding,
    }))
}

impl Layer for Pool {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let (channels, size) = channels_and_size(input, self.dimensions)?;
        let window = window(self.dimensions, self.kernel, self.stride, self.padding);
        let positions = positions(input, &window, size)?;
        let output = shape(channels, positions, self.dimensions);
        let flops = operations(&output).saturating_mul(window.area() as u64);
        let function = Pooled {
            dimensions: self.dimensions,
            window,
            pooling: self.pooling,
        };
        Ok(Placed {
            flops,
            ..Placed::plain(input, output, function)
        })
    }
}

#[derive(Debug)]
struct Pooled {
    dimensions: usize,
    window: Window,
    pooling: Pooling,
}

impl Function for Pooled {
    fn forward(
        &self,
        x: &Tensor,
        _parameters: &mut Iter<'_, Tensor>,
        _mode: &mut Mode<'_>,
    ) -> Result<Tensor> {
        as_images(x, self.dimensions, |x| pool(x, self.window, self.pooling))
    }
}

impl Layer for GlobalPool {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let dimensions = input.shape.len().saturating_sub(1);
        if !(1..=2).contains(&dimensions) {
            return Err(input.needs("[channels, length] or [channels, height, width]"));
        }
        let (channels, kernel) = channels_and_size(input, dimensions)?;
        let window = Window {
            kernel,
            stride: [1; 2],
            padding: [0; 2],
        };
        let function = Channels {
            dimensions,
            window,
            pooling: self.0,
        };
        Ok(Placed::plain(input, vec![channels], function))
    }
}

#[derive(Debug)]
struct Channels {
    dimensions: usize,
    window: Window,
    pooling: Pooling,
}

impl Function for Channels {
    fn forward(
        &self,
        x: &Tensor,
        _parameters: &mut Iter<'_, Tensor>,
        _mode: &mut Mode<'_>,
    ) -> Result<Tensor> {
        let pooled = as_images(x, self.dimensions, |x| pool(x, self.window, self.pooling))?;
        Ok(pooled.flatten_from(1)?)
    }
}
