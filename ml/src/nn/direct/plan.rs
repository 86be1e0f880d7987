//! [`Plan`]: what is summed for each number of the result of a convolution, or of the slopes of its input.
//!
//! Both are sums over the elements of a window of an image with zeros around it. For the slopes of the input, the image is that
//! of the slopes of the output, and the window is turned around. With a stride, the pixels of the input fall into classes by
//! their remainders: each class sees other elements of the window, and has a plan of its own.

use super::frame::{Frame, Margins};
use super::places::Places;
use crate::nn::window::Window;

/// Results of more channels than this number have them as lanes of a vector; others, such as those of a depthwise convolution,
/// have positions.
const LANES_OF_POSITIONS_MAX: usize = 3;

/// The sizes of a convolution of one group of channels of one row.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct Group {
    pub(in crate::nn) window: Window,
    /// Channels of the input.
    pub(in crate::nn) channels: usize,
    /// Channels of the output.
    pub(in crate::nn) outputs: usize,
    /// Height and width of the input.
    pub(in crate::nn) image: [usize; 2],
    /// Height and width of the output.
    pub(in crate::nn) positions: [usize; 2],
}

impl Group {
    /// Elements of a channel of the input.
    pub(super) fn pixels(&self) -> usize {
        self.image[0] * self.image[1]
    }

    /// Elements of a channel of the output.
    pub(super) fn places(&self) -> usize {
        self.positions[0] * self.positions[1]
    }

    /// Elements of the input.
    pub(super) fn inputs(&self) -> usize {
        self.channels * self.pixels()
    }

    /// Elements of the output.
    pub(super) fn results(&self) -> usize {
        self.outputs * self.places()
    }

    /// The weights.
    pub(super) fn weights(&self) -> usize {
        self.outputs * self.depth()
    }

    /// Elements under the window in all channels.
    pub(super) fn depth(&self) -> usize {
        self.channels * self.window.area()
    }

    /// The frame in which the window finds the input.
    pub(super) fn frame(&self) -> Frame {
        let Window {
            kernel,
            stride,
            padding,
        } = self.window;
        let size = |axis: usize| (self.positions[axis] - 1) * stride[axis] + kernel[axis];
        let has_vectors = has_position_lanes(self.outputs);
        let margins = Margins {
            before: padding,
            size: [size(0), size(1)],
            step: if has_vectors { stride[1] } else { 1 },
            has_vectors,
        };
        Frame::new(self.channels, self.image, margins)
    }

    /// The frame in which each pixel finds the slopes of the output.
    pub(super) fn slope_frame(&self) -> Frame {
        let [(before_y, height), (before_x, width)] = [0, 1].map(|axis| {
            let Window {
                kernel,
                stride,
                padding,
            } = self.window;
            let outside = (kernel[axis] - 1).saturating_sub(padding[axis]);
            let before = outside / stride[axis];
            let last = (padding[axis] + self.image[axis] - 1) / stride[axis];
            (before, before + last + 1)
        });
        let margins = Margins {
            before: [before_y, before_x],
            size: [height, width],
            step: 1,
            has_vectors: has_position_lanes(self.channels),
        };
        Frame::new(self.outputs, self.positions, margins)
    }
}

/// Whether the lanes of a vector are positions, if a result has so many channels.
pub(super) fn has_position_lanes(channels: usize) -> bool {
    channels <= LANES_OF_POSITIONS_MAX
}

/// A result whose numbers are sums: `Σ over terms: weights[elements[term] + lane · lane_step] · frame[position + terms[term]]`.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) frame: Frame,
    /// Places in the frame, counted from that of a position.
    pub(super) terms: Places,
    /// Places in the weights, counted from those of a channel of the result.
    pub(super) elements: Vec<usize>,
    /// The channels of the result, and the distance between their weights.
    pub(super) lanes: usize,
    pub(super) lane_step: usize,
    /// The first position of each line of the result: its places in the frame, and in a channel of the result.
    pub(super) lines: Vec<[usize; 2]>,
    /// The positions of a line, and how far they are apart in the frame and in the result.
    pub(super) count: usize,
    pub(super) steps: [usize; 2],
    /// The numbers of a channel of the result.
    pub(super) plane: usize,
}

/// The pixels along an axis that see the same elements of the window.
#[derive(Debug, Clone, Copy)]
struct Class {
    /// The first element of the window that they see, and the number of them.
    element: usize,
    elements: usize,
    /// The first pixel, and the number of them.
    pixel: usize,
    pixels: usize,
    /// Where the first pixel finds its first slope in the frame.
    place: usize,
}

impl Plan {
    /// The output of a convolution.
    pub(super) fn of_output(group: &Group) -> Self {
        let (frame, [stride_y, stride_x]) = (group.frame(), group.window.stride);
        let [tall, wide] = group.window.kernel;
        let [down, across] = group.positions;
        let step = match has_position_lanes(group.outputs) {
            true => 1,
            false => stride_x,
        };
        let mut terms = Vec::with_capacity(group.depth());
        for channel in 0..group.channels {
            for y in 0..tall {
                terms.extend((0..wide).map(|x| frame.place(channel, y, x)));
            }
        }
        let line = |y: usize| [frame.place(0, y * stride_y, 0), y * across];
        Self {
            frame,
            terms: Places::new(terms),
            elements: (0..group.depth()).collect(),
            lanes: group.outputs,
            lane_step: group.depth(),
            lines: (0..down).map(line).collect(),
            count: across,
            steps: [step, 1],
            plane: group.places(),
        }
    }

    /// The slopes of the input of a convolution. Pixels that no plan has are under no position.
    pub(super) fn of_input_slopes(group: &Group) -> Vec<Self> {
        let frame = group.slope_frame();
        let [stride_y, stride_x] = group.window.stride;
        let mut plans = Vec::with_capacity(stride_y * stride_x);
        for y in (0..stride_y).filter_map(|element| Class::of(group, &frame, 0, element)) {
            for x in (0..stride_x).filter_map(|element| Class::of(group, &frame, 1, element)) {
                plans.push(Self::of_class(group, frame, [y, x]));
            }
        }
        plans
    }

    fn of_class(group: &Group, frame: Frame, [y, x]: [Class; 2]) -> Self {
        let ([stride_y, stride_x], area) = (group.window.stride, group.window.area());
        let terms = y.elements * x.elements * group.outputs;
        let (mut terms, mut elements) = (Vec::with_capacity(terms), Vec::with_capacity(terms));
        for output in 0..group.outputs {
            for (row, column) in
                (0..y.elements).flat_map(|row| (0..x.elements).map(move |column| (row, column)))
            {
                terms.push(frame.place(output, row, column));
                // The window is turned around: what is last in it comes first in the frame.
                let element_y = y.element + (y.elements - 1 - row) * stride_y;
                let element_x = x.element + (x.elements - 1 - column) * stride_x;
                let element = element_y * group.window.kernel[1] + element_x;
                elements.push(output * group.depth() + element);
            }
        }
        let line = |number: usize| {
            let pixel = (y.pixel + number * stride_y) * group.image[1] + x.pixel;
            [frame.place(0, y.place + number, x.place), pixel]
        };
        Self {
            frame,
            terms: Places::new(terms),
            elements,
            lanes: group.channels,
            lane_step: area,
            lines: (0..y.pixels).map(line).collect(),
            count: x.pixels,
            steps: [1, stride_x],
            plane: group.pixels(),
        }
    }

    /// Whether the weights of a channel of the result follow each other in the order of the terms, as those of an output do.
    pub(super) fn has_weights_in_order(&self) -> bool {
        let terms = self.elements.len();
        self.lane_step == terms && self.elements.iter().copied().eq(0..terms)
    }

    /// Whether the lines are all numbers of a channel of the result in their order.
    pub(super) fn is_in_order(&self) -> bool {
        let mut lines = self.lines.iter().enumerate();
        self.steps[1] == 1 && lines.all(|(number, line)| line[1] == number * self.count)
    }
}

impl Class {
    /// The pixels along an axis that see this element of the window and those that are whole strides behind it; `None` if there
    /// are none.
    fn of(group: &Group, frame: &Frame, axis: usize, element: usize) -> Option<Self> {
        let (kernel, length) = (group.window.kernel[axis], group.image[axis]);
        let (stride, padding) = (group.window.stride[axis], group.window.padding[axis]);
        let elements = kernel.checked_sub(element + 1)? / stride + 1;
        let pixel = (element + stride - padding % stride) % stride;
        let pixels = length.checked_sub(pixel + 1)? / stride + 1;
        // The position whose first element of the class is at the first pixel; its last one is `elements - 1` positions before.
        let position = (pixel + padding - element) / stride;
        Some(Self {
            element,
            elements,
            pixel,
            pixels,
            place: position + frame.before(axis) - (elements - 1),
        })
    }
}
