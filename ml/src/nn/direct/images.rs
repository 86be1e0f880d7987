//! [`Direct`]: a convolution of a batch, and its gradients, image by image.

use super::activate::OutputSlopes;
use super::arguments::{Arguments, Slopes};
use super::channels::SCRATCH_NUMBERS;
use super::frame::Frame;
use super::kernel::Weights;
use super::lanes::{Instructions, LANES_MAX, Work};
use super::passes::{Backward, Forward, more};
use super::plan::{Group, has_position_lanes};
use crate::Result;
use crate::nn::activation::Fused;

/// How much larger than an image its frame may be: a window that is mostly outside of the image multiplies zeros.
const FRAME_RATIO_MAX: usize = 4;
/// A frame of so many numbers in a channel is never too large.
const FRAME_NUMBERS: usize = 1 << 10;
/// How many pixels of the input there may be for each position of the window and pixel of its stride. The slope of each pixel is
/// a sum over all positions that could reach it.
const PIXELS_RATIO_MAX: usize = 3;

/// A convolution by the kernels of this folder.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct Direct {
    instructions: Instructions,
    group: Group,
    activation: Option<Fused>,
}

impl Direct {
    /// The convolution, if this processor has instructions for it and its window suits the kernels.
    pub(in crate::nn) fn new(group: Group, activation: Option<Fused>) -> Option<Self> {
        let instructions = Instructions::all().next()?;
        suits(&group).then_some(Self {
            instructions,
            group,
            activation,
        })
    }

    /// The convolution with these instructions.
    #[cfg(test)]
    pub(super) fn with(
        instructions: Instructions,
        group: Group,
        activation: Option<Fused>,
    ) -> Self {
        Self {
            instructions,
            group,
            activation,
        }
    }

    /// `y` `[rows, outputs, positions]` of `x` `[rows, channels, pixels]`, with all groups of channels.
    pub(in crate::nn) fn forward(&self, arguments: Arguments<'_>) -> Result<Vec<f32>> {
        let mut pass = self.forward_pass(arguments);
        let images = arguments.x.chunks_exact(self.group.inputs());
        let mut y = Vec::with_capacity(images.len() * self.group.results());
        for (number, image) in images.enumerate() {
            pass.write(number, image, more(&mut y, self.group.results()))?;
        }
        Ok(y)
    }

    /// The slopes of `x` if they are wanted, of the weights and of the bias, from the slopes `dy` of `y`. The sums go over the
    /// images in their order.
    pub(in crate::nn) fn slopes(
        &self,
        arguments: Arguments<'_>,
        [y, dy]: [&[f32]; 2],
        has_input_gradient: bool,
    ) -> Result<Slopes> {
        let outputs = self.group.results();
        let mut pass = self.backward_pass(arguments, has_input_gradient);
        let mut dz = vec![0.0; self.activation.map_or(0, |_| outputs)];
        let of_outputs = y.chunks_exact(outputs).zip(dy.chunks_exact(outputs));
        let images = arguments.x.chunks_exact(self.group.inputs());
        for (number, (image, (y, dy))) in images.zip(of_outputs).enumerate() {
            let dz = self.run(OutputSlopes {
                activation: self.activation,
                y,
                dy,
                dz: &mut dz,
            });
            pass.add(number, image, dz)?;
        }
        Ok(pass.end())
    }

    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    pub(super) fn activation(&self) -> Option<Fused> {
        self.activation
    }

    pub(super) fn run<W: Work>(&self, work: W) -> W::Output {
        self.instructions.run(work)
    }

    pub(super) fn forward_pass<'a>(&self, arguments: Arguments<'a>) -> Forward<'a> {
        Forward::new(self.instructions, &self.group, self.activation, arguments)
    }

    pub(super) fn backward_pass<'a>(
        &self,
        arguments: Arguments<'a>,
        has_input_gradient: bool,
    ) -> Backward<'a> {
        let group = &self.group;
        Backward::new(self.instructions, group, arguments, has_input_gradient)
    }

    /// The most memory that the convolution and its gradients take besides their results, if its window suits the kernels.
    pub(in crate::nn) fn scratch_bytes(group: &Group, groups: usize) -> usize {
        if !suits(group) {
            return 0;
        }
        let (area, outputs) = (group.window.area(), group.outputs * group.places());
        // The weights of the output, their slopes, and the weights of the slopes of the input, in vectors.
        let packed = |lanes: usize| match has_position_lanes(lanes) {
            true => lanes,
            false => lanes + LANES_MAX,
        };
        let weights = 2 * packed(group.outputs) * group.depth()
            + packed(group.channels) * group.outputs * area;
        let frames = group.frame().len() + group.slope_frame().len();
        // Lines in vectors that are partly empty, or a block of channels.
        let scratch = 2 * LANES_MAX * (group.places() + group.pixels()) + 2 * SCRATCH_NUMBERS;
        let numbers = frames
            .saturating_add(outputs + scratch)
            .saturating_add(weights.saturating_mul(groups));
        // Places of terms and weights, of positions in the frame and in the result, and of vectors.
        let places =
            2 * (group.depth() + group.outputs * area) + 8 * (group.places() + group.pixels());
        let structures = groups.saturating_mul(2 * size_of::<Weights<'_>>());
        numbers
            .saturating_mul(size_of::<f32>())
            .saturating_add(places.saturating_mul(size_of::<usize>()))
            .saturating_add(structures)
    }
}

/// Whether a convolution has frames that are not much larger than its images, and not many more pixels than positions.
fn suits(group: &Group) -> bool {
    let fits = |frame: &Frame, channels: usize, numbers: usize| {
        frame.len() <= channels * (FRAME_RATIO_MAX * numbers + FRAME_NUMBERS)
    };
    let (pixels, places) = (group.pixels(), group.places());
    let [down, across] = group.window.stride;
    fits(&group.frame(), group.channels, pixels)
        && fits(&group.slope_frame(), group.outputs, pixels.max(places))
        && pixels <= PIXELS_RATIO_MAX * places * down * across
}
