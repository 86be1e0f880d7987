//! `conv1d` and `conv2d`

use super::layer::{Input, Layer, Placed, operations};
use super::text::{Arguments, Width, invalid, whole};
use super::window::{KERNEL_MAX, Space, kernel, positions, stride};
use crate::Result;
use crate::graph::Attribute;
use crate::nn::{Convolution, Window, convolution, convolution_and_squares};

#[derive(Debug)]
struct Conv {
    space: Space,
    channels: Width,
    window: Window,
    groups: usize,
}

pub(super) fn read_1d(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, Space::Line)
}

pub(super) fn read_2d(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, Space::Image)
}

fn read(arguments: &mut Arguments<'_>, space: Space) -> Result<Box<dyn Layer>> {
    let channels = arguments.width("channels")?;
    let kernel = kernel(arguments)?;
    let stride = stride(arguments, 1)?;
    let padding = match arguments.text("padding")? {
        None => 0,
        Some(text) if text.eq_ignore_ascii_case("same") => same(kernel, stride)?,
        Some(text) => whole("padding", text, 0..=KERNEL_MAX)
            .map_err(|error| invalid(format!("{error}, or same")))?,
    };
    Ok(Box::new(Conv {
        space,
        channels,
        window: space.window(kernel, stride, padding),
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
        let (space, window, groups) = (self.space, self.window, self.groups);
        let (channels, size) = space.channels_and_size(input)?;
        let positions = positions(&window, input, size)?;
        let outputs = self.channels.number(input.outputs);
        if !channels.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            return Err(invalid(format!(
                "groups={groups} does not divide the channels of its input {:?} and its own {outputs}",
                input.shape
            )));
        }
        let inputs = channels / groups * window.area();
        let [down, across] = window.kernel;
        let weight = vec![outputs, channels / groups, down, across];
        let (layer, activation) = (Convolution { window, groups }, input.next);
        let has_squares = input.squares_next && space == Space::Image;
        let of_graph = match space {
            Space::Line => vec![outputs, channels / groups, across],
            Space::Image => weight.clone(),
        };
        Ok(Placed {
            parameters: input.weight_and_bias(weight, inputs, outputs),
            flops: operations(&[2, inputs, outputs, positions[0], positions[1]]),
            scratch_bytes: layer.scratch_bytes([channels, outputs], size),
            applied: usize::from(activation.is_some()) + usize::from(has_squares),
            ..Placed::new(input, space.shape(outputs, positions), move |x, pass| {
                let (weight, bias) = (pass.parameter()?, pass.parameter()?);
                space.as_images(x, |x| match has_squares {
                    true => convolution_and_squares(x, weight, bias, layer, activation),
                    false => convolution(x, weight, bias, layer, activation),
                })
            })
        }
        .drawn(move |x, drawing| {
            let weight = drawing.parameter_as(&of_graph)?;
            let bias = drawing.parameter()?;
            let mut attributes = space.attributes(&window);
            attributes.push(("group", Attribute::Integer(groups as i64)));
            let inputs = [x, &weight, &bias];
            Ok(drawing.graph.node("Conv", &inputs, attributes))
        }))
    }

    fn has_classes(&self) -> bool {
        self.channels == Width::Classes
    }
}
