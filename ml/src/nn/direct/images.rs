//! [`Direct`]: a convolution of a batch, and its gradients, image by image.

use super::activate::OutputSlopes;
use super::aligned::Aligned;
use super::channels::SCRATCH_NUMBERS;
use super::frame::Frame;
use super::kernel::{Kernel, Weights};
use super::lanes::{Instructions, LANES_MAX};
use super::plan::{Group, Plan, has_position_lanes};
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
    groups: usize,
    activation: Option<Fused>,
}

/// The slopes of a convolution: of its input if they are wanted, of its weights, and of its bias.
#[derive(Debug)]
pub(in crate::nn) struct Slopes {
    pub(in crate::nn) dx: Option<Vec<f32>>,
    pub(in crate::nn) dw: Vec<f32>,
    pub(in crate::nn) db: Vec<f32>,
}

impl Direct {
    /// The convolution, if this processor has instructions for it and its window suits the kernels.
    pub(in crate::nn) fn new(
        group: Group,
        groups: usize,
        activation: Option<Fused>,
    ) -> Option<Self> {
        let instructions = Instructions::all().next()?;
        suits(&group).then_some(Self {
            instructions,
            group,
            groups,
            activation,
        })
    }

    /// The convolution with these instructions.
    #[cfg(test)]
    pub(super) fn with(
        instructions: Instructions,
        group: Group,
        groups: usize,
        activation: Option<Fused>,
    ) -> Self {
        Self {
            instructions,
            group,
            groups,
            activation,
        }
    }

    /// `y` `[rows, outputs, positions]` of `x` `[rows, channels, pixels]`, with all groups of channels.
    pub(in crate::nn) fn forward(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
    ) -> Result<Vec<f32>> {
        let group = &self.group;
        let kernel = Kernel::new(self.instructions, Plan::of_output(group));
        let weights = weight.chunks_exact(group.outputs * group.depth());
        let packed = weights.zip(bias.chunks_exact(group.outputs));
        let packed = packed.map(|(weights, bias)| kernel.pack(weights, Some(bias)));
        let packed: Vec<Weights<'_>> = packed.collect();
        let images = x.chunks_exact(group.channels * group.pixels());
        let outputs = group.outputs * group.places();
        let mut y = Vec::with_capacity(images.len() * outputs);
        let mut source = Source::new(kernel.plan().frame);
        let mut scratch = Aligned::zeros(kernel.scratch_numbers());
        for (index, image) in images.enumerate() {
            let weights = &packed[index % self.groups];
            let (source, y) = (source.of(image), more(&mut y, outputs));
            kernel.write(weights, source, self.activation, &mut scratch, y)?;
        }
        Ok(y)
    }

    /// The slopes of `x` if `has_input_gradient`, of the weights and of the bias, from those of `y`. The sums go over the images in
    /// their order.
    pub(in crate::nn) fn slopes(
        &self,
        [x, weight, y, dy]: [&[f32]; 4],
        has_input_gradient: bool,
    ) -> Result<Slopes> {
        let group = &self.group;
        let kernel = Kernel::new(self.instructions, Plan::of_output(group));
        let mut input_slopes = has_input_gradient.then(|| self.input_slopes(weight));
        let mut of_groups: Vec<Aligned> = (0..self.groups).map(|_| kernel.slopes()).collect();
        let (inputs, outputs) = (
            group.channels * group.pixels(),
            group.outputs * group.places(),
        );
        let mut source = Source::new(kernel.plan().frame);
        let mut scratch = Aligned::zeros(kernel.scratch_numbers());
        let mut dz = vec![0.0; self.activation.map_or(0, |_| outputs)];
        let mut db = vec![0.0; self.groups * group.outputs];
        let mut dx = has_input_gradient.then(|| Vec::with_capacity(x.len()));
        let of_outputs = y.chunks_exact(outputs).zip(dy.chunks_exact(outputs));
        for (index, (image, (y, dy))) in x.chunks_exact(inputs).zip(of_outputs).enumerate() {
            let number = index % self.groups;
            let dz = self.instructions.run(OutputSlopes {
                activation: self.activation,
                y,
                dy,
                dz: &mut dz,
                sums: &mut db[number * group.outputs..][..group.outputs],
            });
            kernel.add_slopes(source.of(image), dz, &mut scratch, &mut of_groups[number])?;
            if let (Some(slopes), Some(dx)) = (&mut input_slopes, &mut dx) {
                slopes.write(number, dz, more(dx, inputs))?;
            }
        }
        let mut dw = vec![0.0; weight.len()];
        let weights = dw.chunks_exact_mut(group.outputs * group.depth());
        for (slopes, weights) in of_groups.iter().zip(weights) {
            kernel.unpack(slopes, weights);
        }
        Ok(Slopes { dx, dw, db })
    }

    fn input_slopes<'a>(&self, weight: &'a [f32]) -> InputSlopes<'a> {
        let plans = Plan::of_input_slopes(&self.group).into_iter();
        let kernels = plans.map(|plan| {
            let kernel = Kernel::new(self.instructions, plan);
            let weights = weight.chunks_exact(self.group.outputs * self.group.depth());
            let packed = weights.map(|weights| kernel.pack(weights, None)).collect();
            (kernel, packed)
        });
        let kernels: Vec<(Kernel, Vec<Weights<'a>>)> = kernels.collect();
        let scratch = kernels.iter().map(|(kernel, _)| kernel.scratch_numbers());
        InputSlopes {
            source: Source::new(self.group.slope_frame()),
            scratch: Aligned::zeros(scratch.max().unwrap_or(0)),
            kernels,
        }
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

/// Zeros behind the numbers. Those of an image are still in the cache when its results replace them, unlike those of a batch.
fn more(numbers: &mut Vec<f32>, count: usize) -> &mut [f32] {
    let start = numbers.len();
    numbers.resize(start + count, 0.0);
    &mut numbers[start..]
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

/// The frame of one image after the other.
#[derive(Debug)]
struct Source {
    frame: Frame,
    /// Empty if the frame is the image.
    values: Aligned,
}

impl Source {
    fn new(frame: Frame) -> Self {
        let numbers = if frame.is_image() { 0 } else { frame.len() };
        Self {
            frame,
            values: Aligned::zeros(numbers),
        }
    }

    fn of<'a>(&'a mut self, image: &'a [f32]) -> &'a [f32] {
        if self.frame.is_image() {
            return image;
        }
        self.frame.fill(image, &mut self.values);
        &self.values
    }
}

/// The slopes of the input of a convolution.
#[derive(Debug)]
struct InputSlopes<'a> {
    source: Source,
    /// The kernel of each class of pixels, with the weights of each group of channels.
    kernels: Vec<(Kernel, Vec<Weights<'a>>)>,
    scratch: Aligned,
}

impl InputSlopes<'_> {
    /// Writes those of an image of a group of channels, from the slopes `dz` of its output.
    fn write(&mut self, group: usize, dz: &[f32], dx: &mut [f32]) -> Result<()> {
        let source = self.source.of(dz);
        for (kernel, weights) in &self.kernels {
            kernel.write(&weights[group], source, None, &mut self.scratch, dx)?;
        }
        Ok(())
    }
}
