//! `max_pool1d`, `max_pool2d`, `avg_pool1d`, `avg_pool2d`, `global_max_pool` and `global_avg_pool`

use super::layer::{Input, Layer, Placed, operations};
use super::text::{Arguments, invalid};
use super::window::{KERNEL_MAX, Space, kernel, positions, stride};
use crate::Result;
use crate::graph::Attribute;
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
        let (space, window, pooling) = (self.space, self.window, self.pooling);
        let (channels, size) = space.channels_and_size(input)?;
        let output = space.shape(channels, positions(&window, input, size)?);
        Ok(Placed {
            flops: operations(&output).saturating_mul(window.area() as u64),
            ..Placed::new(input, output, move |x, _| {
                space.as_images(x, |x| pool(x, window, pooling))
            })
        }
        .drawn(move |x, drawing| {
            let mut attributes = space.attributes(&window);
            let operator = match pooling {
                Pooling::Max => "MaxPool",
                Pooling::Mean => {
                    attributes.push(("count_include_pad", Attribute::Integer(1)));
                    "AveragePool"
                }
            };
            Ok(drawing.graph.node(operator, &[x], attributes))
        }))
    }

    fn takes_squares(&self) -> bool {
        self.pooling == Pooling::Max && self.window == Window::square(2, 2, 0)
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
        let pooling = self.0;
        Ok(Placed::new(input, vec![channels], move |x, _| {
            let pooled = space.as_images(x, |x| pool(x, window, pooling))?;
            Ok(pooled.flatten_from(1)?)
        })
        .drawn(move |x, drawing| {
            let operator = match pooling {
                Pooling::Max => "GlobalMaxPool",
                Pooling::Mean => "GlobalAveragePool",
            };
            let pooled = drawing.graph.node(operator, &[x], vec![]);
            Ok(drawing.graph.reshape(&pooled, &[channels]))
        }))
    }
}
