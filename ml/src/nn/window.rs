//! [`Window`]: the window that convolution and pooling move over an image.

use std::ops::Range;

use super::values::Float;
#[cfg(feature = "cuda")]
use crate::device::layer_kernels::KernelWindow;

/// A window that moves over an image `[height, width]`. A sequence is an image of height 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its height and width.
    pub kernel: [usize; 2],
    /// The distance between two positions.
    pub stride: [usize; 2],
    /// The rows and columns around the image that positions may cover too.
    pub padding: [usize; 2],
}

impl Window {
    /// A square window.
    pub fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
        }
    }

    /// A window over a sequence.
    pub fn line(kernel: usize, stride: usize, padding: usize) -> Self {
        Self {
            kernel: [1, kernel],
            stride: [1, stride],
            padding: [0, padding],
        }
    }

    /// The number of elements under the window.
    pub fn area(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The number of its positions down and across an image of this size; `None` if it is larger than the padded image.
    pub fn positions(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let room = (size[axis] + 2 * self.padding[axis]).checked_sub(self.kernel[axis])?;
            Some(room / self.stride[axis] + 1)
        };
        Some([along(0)?, along(1)?])
    }

    /// The window over an image of this size for kernels of a GPU.
    #[cfg(feature = "cuda")]
    pub(super) fn on_gpu(&self, image: [usize; 2], positions: [usize; 2]) -> KernelWindow {
        let small = |sizes: [usize; 2]| sizes.map(|size| size as u32);
        KernelWindow {
            image: small(image),
            positions: small(positions),
            kernel: small(self.kernel),
            stride: small(self.stride),
            padding: small(self.padding),
        }
    }

    /// Whether the window has one element and stops at each element of the image.
    pub(super) fn is_one_element(&self) -> bool {
        (self.kernel, self.stride, self.padding) == ([1; 2], [1; 2], [0; 2])
    }

    /// The rows or columns of the image that are under the window at a position.
    pub(super) fn under(&self, axis: usize, position: usize, length: usize) -> Range<usize> {
        let start = position * self.stride[axis];
        let end = (start + self.kernel[axis]).saturating_sub(self.padding[axis]);
        start.saturating_sub(self.padding[axis])..end.min(length)
    }

    /// The positions at which the element `offset` of the window lies in the image.
    fn inside(&self, axis: usize, offset: usize, length: usize, positions: usize) -> Range<usize> {
        let (stride, padding) = (self.stride[axis], self.padding[axis]);
        let start = padding.saturating_sub(offset).div_ceil(stride);
        let end = (length + padding)
            .saturating_sub(offset)
            .div_ceil(stride)
            .min(positions);
        start.min(end)..end
    }

    /// Calls `each` with the ranges of each element of the window: its number, a range of a row of the image, and a range
    /// of the positions, of equal lengths but for the stride.
    fn runs(
        &self,
        size: [usize; 2],
        positions: [usize; 2],
        mut each: impl FnMut(usize, Range<usize>, Range<usize>),
    ) {
        let [height, width] = size;
        let [down, across] = positions;
        for y in 0..self.kernel[0] {
            for x in 0..self.kernel[1] {
                let columns = self.inside(1, x, width, across);
                if columns.is_empty() {
                    continue;
                }
                let first = columns.start * self.stride[1] + x - self.padding[1];
                let last = (columns.end - 1) * self.stride[1] + x - self.padding[1];
                for row in self.inside(0, y, height, down) {
                    let line = (row * self.stride[0] + y - self.padding[0]) * width;
                    let from = line + first..line + last + 1;
                    let to = row * across + columns.start..row * across + columns.end;
                    each(y * self.kernel[1] + x, from, to);
                }
            }
        }
    }

    /// Writes the elements under the window, `[elements of the window, positions]`; those outside of the image are 0.
    pub(super) fn gather<T: Float>(&self, image: &[T], size: [usize; 2], columns: &mut [T]) {
        columns.fill(T::zero());
        let positions = self.positions(size).unwrap_or_default();
        let count = positions[0] * positions[1];
        self.runs(size, positions, |element, from, to| {
            let to = &mut columns[element * count..][to];
            let from = image[from].iter().step_by(self.stride[1]);
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
        });
    }

    /// Adds each element of `columns`, `[elements of the window, positions]`, to the element of the image that it came from.
    pub(super) fn scatter<T: Float>(&self, columns: &[T], size: [usize; 2], image: &mut [T]) {
        let positions = self.positions(size).unwrap_or_default();
        let count = positions[0] * positions[1];
        self.runs(size, positions, |element, to, from| {
            let from = &columns[element * count..][from];
            let to = image[to].iter_mut().step_by(self.stride[1]);
            to.zip(from).for_each(|(to, &from)| *to += from);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_elements_under_a_window() {
        let image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let window = Window::square(2, 1, 0);
        assert_eq!(window.positions([2, 3]), Some([1, 2]));
        let mut columns = [9.0; 8];
        window.gather(&image, [2, 3], &mut columns);
        assert_eq!(columns, [1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 5.0, 6.0]);
        // With a stride and padding, the corners of the image are under different elements of the window.
        let window = Window::square(2, 2, 1);
        assert_eq!(window.positions([2, 3]), Some([2, 2]));
        let mut columns = [9.0; 16];
        window.gather(&image, [2, 3], &mut columns);
        let expected = [
            [0.0, 0.0, 0.0, 5.0],
            [0.0, 0.0, 4.0, 6.0],
            [0.0, 2.0, 0.0, 0.0],
            [1.0, 3.0, 0.0, 0.0],
        ];
        assert_eq!(columns, expected.as_flattened());
        let mut back = [0.0; 6];
        window.scatter(&columns, [2, 3], &mut back);
        assert_eq!(back, image);
        assert_eq!(Window::square(3, 1, 0).positions([2, 3]), None);
    }

    #[test]
    fn a_window_counts_each_element_as_often_as_it_covers_it() {
        for (kernel, stride, padding) in [(1, 1, 0), (3, 1, 1), (3, 2, 1), (2, 3, 1), (4, 3, 2)] {
            let (window, size) = (Window::square(kernel, stride, padding), [5, 7]);
            let [down, across] = window.positions(size).unwrap();
            let columns = vec![1.0; window.area() * down * across];
            let mut counts = vec![0.0; 35];
            window.scatter(&columns, size, &mut counts);
            let mut expected = vec![0.0; 35];
            for (y, x) in (0..down).flat_map(|y| (0..across).map(move |x| (y, x))) {
                for row in window.under(0, y, size[0]) {
                    let columns = window.under(1, x, size[1]);
                    columns.for_each(|column| expected[row * 7 + column] += 1.0);
                }
            }
            assert_eq!(counts, expected, "{window:?}");
        }
    }
}
