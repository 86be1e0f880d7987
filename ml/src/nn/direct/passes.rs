//! The passes over the images of a batch: [`Forward`] writes their outputs, [`Backward`] adds up their slopes.

use super::activate::ChannelSums;
use super::aligned::Aligned;
use super::arguments::{Arguments, Slopes};
use super::frame::Frame;
use super::kernel::{Kernel, Weights};
use super::lanes::Instructions;
use super::plan::{Group, Plan};
use crate::Result;
use crate::nn::activation::Fused;

/// Writes the outputs of images.
#[derive(Debug)]
pub(super) struct Forward<'a> {
    kernel: Kernel,
    /// Those of each group of channels.
    weights: Vec<Weights<'a>>,
    source: Source,
    activation: Option<Fused>,
    scratch: Aligned,
}

impl<'a> Forward<'a> {
    pub(super) fn new(
        instructions: Instructions,
        group: &Group,
        activation: Option<Fused>,
        arguments: Arguments<'a>,
    ) -> Self {
        let kernel = Kernel::new(instructions, Plan::of_output(group));
        let weights = arguments.weight.chunks_exact(group.weights());
        let weights = weights.zip(arguments.bias.chunks_exact(group.outputs));
        let weights = weights.map(|(weights, bias)| kernel.pack(weights, Some(bias)));
        Self {
            weights: weights.collect(),
            source: Source::new(kernel.plan().frame),
            activation,
            scratch: Aligned::zeros(kernel.scratch_numbers()),
            kernel,
        }
    }

    /// Writes the output `[outputs, positions]` of the image of this number, `[channels, pixels]`. The images of a row follow each
    /// other, one for each group of channels.
    pub(super) fn write(&mut self, number: usize, image: &[f32], y: &mut [f32]) -> Result<()> {
        let weights = &self.weights[number % self.weights.len()];
        let source = self.source.of(image);
        let scratch = &mut self.scratch;
        self.kernel
            .write(weights, source, self.activation, scratch, y)
    }
}

/// Adds up the slopes of images.
#[derive(Debug)]
pub(super) struct Backward<'a> {
    instructions: Instructions,
    group: Group,
    kernel: Kernel,
    source: Source,
    scratch: Aligned,
    /// The slopes of the weights of each group of channels.
    dw: Vec<Aligned>,
    db: Vec<f32>,
    /// The slopes of the input, if they are wanted.
    dx: Option<(InputSlopes<'a>, Vec<f32>)>,
}

impl<'a> Backward<'a> {
    pub(super) fn new(
        instructions: Instructions,
        group: &Group,
        arguments: Arguments<'a>,
        has_input_gradient: bool,
    ) -> Self {
        let kernel = Kernel::new(instructions, Plan::of_output(group));
        let groups = arguments.weight.len() / group.weights();
        let dx = has_input_gradient.then(|| {
            let slopes = InputSlopes::new(instructions, group, arguments.weight);
            (slopes, Vec::with_capacity(arguments.x.len()))
        });
        Self {
            instructions,
            group: *group,
            source: Source::new(kernel.plan().frame),
            scratch: Aligned::zeros(kernel.scratch_numbers()),
            dw: (0..groups).map(|_| kernel.slopes()).collect(),
            db: vec![0.0; groups * group.outputs],
            dx,
            kernel,
        }
    }

    /// Adds the slopes of the image of this number, from those of its output before the activation.
    pub(super) fn add(&mut self, number: usize, image: &[f32], dz: &[f32]) -> Result<()> {
        let group = number % self.dw.len();
        let outputs = self.group.outputs;
        self.instructions.run(ChannelSums {
            dz,
            sums: &mut self.db[group * outputs..][..outputs],
        });
        let source = self.source.of(image);
        let dw = &mut self.dw[group];
        self.kernel.add_slopes(source, dz, &mut self.scratch, dw)?;
        match &mut self.dx {
            Some((slopes, dx)) => slopes.write(group, dz, more(dx, self.group.inputs())),
            None => Ok(()),
        }
    }

    /// The slopes of all images, with those of the weights in the order of the weights.
    pub(super) fn end(self) -> Slopes {
        let mut dw = vec![0.0; self.dw.len() * self.group.weights()];
        let weights = dw.chunks_exact_mut(self.group.weights());
        for (slopes, weights) in self.dw.iter().zip(weights) {
            self.kernel.unpack(slopes, weights);
        }
        Slopes {
            dx: self.dx.map(|(_, dx)| dx),
            dw,
            db: self.db,
        }
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

impl<'a> InputSlopes<'a> {
    fn new(instructions: Instructions, group: &Group, weight: &'a [f32]) -> Self {
        let plans = Plan::of_input_slopes(group).into_iter();
        let kernels = plans.map(|plan| {
            let kernel = Kernel::new(instructions, plan);
            let weights = weight.chunks_exact(group.weights());
            let packed = weights.map(|weights| kernel.pack(weights, None)).collect();
            (kernel, packed)
        });
        let kernels: Vec<(Kernel, Vec<Weights<'a>>)> = kernels.collect();
        let scratch = kernels.iter().map(|(kernel, _)| kernel.scratch_numbers());
        Self {
            source: Source::new(group.slope_frame()),
            scratch: Aligned::zeros(scratch.max().unwrap_or(0)),
            kernels,
        }
    }

    /// Writes those of an image of a group of channels, from the slopes `dz` of its output.
    fn write(&mut self, group: usize, dz: &[f32], dx: &mut [f32]) -> Result<()> {
        let source = self.source.of(dz);
        for (kernel, weights) in &self.kernels {
            kernel.write(&weights[group], source, None, &mut self.scratch, dx)?;
        }
        Ok(())
    }
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

/// Zeros behind the numbers. Those of an image are still in the cache when its results replace them, unlike those of a batch.
pub(super) fn more<T: Copy + Default>(numbers: &mut Vec<T>, count: usize) -> &mut [T] {
    let start = numbers.len();
    numbers.resize(start + count, T::default());
    &mut numbers[start..]
}
