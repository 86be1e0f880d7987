//! `max_pool1d`, `max_pool2d`, `avg_pool1d`, `avg_pool2d`, `global_max_pool` and `global_avg_pool`

use std::slice::Iter;

use candle_core::Tensor;

use super::layer::{Function, Input, Layer, Placed, operations};
use super::text::{Arguments, invalid};
use super::window::{KERNEL_MAX, Space, kernel, positions, stride};
use crate::Result;
use crate::model::network::Mode;
use crate::nn::{Pooling, Window, pool};

#[derive(Debug)]
struct Pool {
    space: Space,
    pooling: Pooling,
    window: Window,
}

/// One window over all positions.
#[derive(Debug)]
struct GlobalPool(Pooling);

pub(super) fn read_max_1d(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, Space::Line, Pooling::Max)
}

pub(super) fn read_max_2d(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, Space::Image, Pooling::Max)
}

pub(super) fn read_mean_1d(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, Space::Line, Pooling::Mean)
}

pub(super) fn read_mean_2d(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, Space::Image, Pooling::Mean)
}

pub(super) fn read_global_max(_arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(GlobalPool(Pooling::Max)))
}

pub(super) fn read_global_mean(_arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(GlobalPool(Pooling::Mean)))
}

fn read(arguments: &mut Arguments<'_>, space: Space, pooling: Pooling) -> Result<Box<dyn Layer>> {
    let kernel = kernel(arguments)?;
    let stride = stride(arguments, kernel)?;
    let padding = arguments.whole("padding", Some(0), 0..=KERNEL_MAX)?;
    if padding > kernel / 2 {
        return Err(invalid(format!(
            "padding is {padding}; expected at most half of the kernel of {kernel}"
        )));
    }
    Ok(Box::new(Pool {
        space,
        pooling,
        window: space.window(kernel, stride, padding),
    }))
}

impl Layer for Pool {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let (space, window) = (self.space, self.window);
        let (channels, size) = space.channels_and_size(input)?;
        let output = space.shape(channels, positions(&window, input, size)?);
        let flops = operations(&output).saturating_mul(window.area() as u64);
        let function = Pooled {
            space,
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
    space: Space,
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
        let pooled = |x: &Tensor| pool(x, self.window, self.pooling);
        self.space.as_images(x, pooled)
    }
}

impl Layer for GlobalPool {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let space = match input.shape.len() {
            2 => Space::Line,
            3 => Space::Image,
            _ => return Err(input.needs("[channels, length] or [channels, height, width]")),
        };
        let (channels, kernel) = space.channels_and_size(input)?;
        let window = Window {
            kernel,
            stride: [1; 2],
            padding: [0; 2],
        };
        let function = Channels(Pooled {
            space,
            window,
            pooling: self.0,
        });
        Ok(Placed::plain(input, vec![channels], function))
    }
}

/// A number for each channel, without positions.
#[derive(Debug)]
struct Channels(Pooled);

impl Function for Channels {
    fn forward(
        &self,
        x: &Tensor,
        parameters: &mut Iter<'_, Tensor>,
        mode: &mut Mode<'_>,
    ) -> Result<Tensor> {
        let pooled = self.0.forward(x, parameters, mode)?;
        Ok(pooled.flatten_from(1)?)
    }
}
