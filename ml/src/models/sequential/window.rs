//! What convolutions and pools share: a window over sequences or images.

use candle_core::Tensor;

use super::layer::Input;
use super::text::{Arguments, invalid};
use crate::Result;
use crate::graph::Attribute;
use crate::nn::Window;

/// The largest kernel, stride and padding.
pub(super) const KERNEL_MAX: usize = 1_024;

/// What a window moves over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// Sequences `[channels, length]`, which are images of height 1.
    Line,
    /// Images `[channels, height, width]`.
    Image,
}

impl Space {
    pub(super) fn window(self, kernel: usize, stride: usize, padding: usize) -> Window {
        match self {
            Self::Line => Window::line(kernel, stride, padding),
            Self::Image => Window::square(kernel, stride, padding),
        }
    }

    /// The channels of an input, and its height and width.
    pub(super) fn channels_and_size(self, input: &Input<'_>) -> Result<(usize, [usize; 2])> {
        match (self, input.shape) {
            (Self::Line, &[channels, length]) => Ok((channels, [1, length])),
            (Self::Image, &[channels, height, width]) => Ok((channels, [height, width])),
            (Self::Line, _) => Err(input.needs("[channels, length]")),
            (Self::Image, _) => Err(input.needs("[channels, height, width]")),
        }
    }

    /// The dimensions of an output.
    pub(super) fn shape(self, channels: usize, [down, across]: [usize; 2]) -> Vec<usize> {
        match self {
            Self::Line => vec![channels, across],
            Self::Image => vec![channels, down, across],
        }
    }

    /// The window as attributes of a node of a graph.
    pub(super) fn attributes(self, window: &Window) -> Vec<(&'static str, Attribute)> {
        let axes = match self {
            Self::Line => 1..2,
            Self::Image => 0..2,
        };
        let along = |sizes: [usize; 2]| sizes[axes.clone()].to_vec();
        // The padding before each dimension, then that behind each.
        let padding = along(window.padding).repeat(2);
        vec![
            ("kernel_shape", Attribute::sizes(&along(window.kernel))),
            ("strides", Attribute::sizes(&along(window.stride))),
            ("pads", Attribute::sizes(&padding)),
        ]
    }

    /// Applies a function of images `[rows, channels, height, width]`.
    pub(super) fn as_images(
        self,
        x: &Tensor,
        function: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        match self {
            Self::Line => Ok(function(&x.unsqueeze(2)?)?.squeeze(2)?),
            Self::Image => function(x),
        }
    }
}

/// The positions of a window down and across an input of this height and width.
pub(super) fn positions(
    window: &Window,
    input: &Input<'_>,
    size: [usize; 2],
) -> Result<[usize; 2]> {
    window.positions(size).ok_or_else(|| {
        invalid(format!(
            "a kernel of {} is larger than its input of {:?}",
            window.kernel[1], input.shape
        ))
    })
}

pub(super) fn kernel(arguments: &mut Arguments<'_>) -> Result<usize> {
    arguments.whole("kernel", None, 1..=KERNEL_MAX)
}

pub(super) fn stride(arguments: &mut Arguments<'_>, default: usize) -> Result<usize> {
    arguments.whole("stride", Some(default), 1..=KERNEL_MAX)
}
