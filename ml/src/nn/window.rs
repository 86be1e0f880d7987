//! [`Window`]: the window that convolution and pooling move over an image; [`Tile`]: a part of the windows side by side.

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
    pub(super) fn inside(
        &self,
        axis: usize,
        offset: usize,
        length: usize,
        positions: usize,
    ) -> Range<usize> {
        let (stride, padding) = (self.stride[axis], self.padding[axis]);
        let start = padding.saturating_sub(offset).div_ceil(stride);
        let end = (length + padding)
            .saturating_sub(offset)
            .div_ceil(stride)
            .min(positions);
        start.min(end)..end
    }

    /// Calls `each` with the elements of a tile that lie in the image: the number of an element of the window in the tile, a
    /// range of a row of pixels, and the range of the tile's positions that they are under. Both ranges have as many parts, but
    /// the pixels are `stride` apart.
    pub(super) fn runs(
        &self,
        size: [usize; 2],
        tile: &Tile,
        mut each: impl FnMut(usize, Range<usize>, Range<usize>),
    ) {
        let [height, width] = size;
        let Some([down, across]) = self.positions(size) else {
            return;
        };
        let places = &tile.places;
        let rows = places.start / across..places.end.div_ceil(across);
        for (number, element) in tile.depth.clone().enumerate() {
            let (channel, element) = (element / self.area(), element % self.area());
            let (y, x) = (element / self.kernel[1], element % self.kernel[1]);
            let (inside, columns) = (
                self.inside(0, y, height, down),
                self.inside(1, x, width, across),
            );
            for row in rows.start.max(inside.start)..rows.end.min(inside.end) {
                let place = row * across;
                let first = columns.start.max(places.start.saturating_sub(place));
                let end = columns.end.min(places.end - place);
                if first >= end {
                    continue;
                }
                let line = channel * height + row * self.stride[0] + y - self.padding[0];
                let pixel =
                    |column: usize| line * width + column * self.stride[1] + x - self.padding[1];
                let to = place + first - places.start;
                let pixels = pixel(first)..pixel(end - 1) + 1;
                each(number, pixels, to..to + (end - first));
            }
        }
    }

    /// Writes the elements of a tile, `[elements of the windows, positions]`; those outside of the image are 0. `image` has all
    /// channels.
    pub(super) fn gather<T: Float>(
        &self,
        image: &[T],
        size: [usize; 2],
        tile: &Tile,
        columns: &mut [T],
    ) {
        columns.fill(T::zero());
        let width = tile.places.len();
        self.runs(size, tile, |element, pixels, places| {
            let to = &mut columns[element * width..][places];
            match self.stride[1] {
                1 => to.copy_from_slice(&image[pixels]),
                stride => {
                    let from = image[pixels].iter().step_by(stride);
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                }
            }
        });
    }

    /// Adds each element of `columns`, a tile, to the element of the image that it came from.
    pub(super) fn scatter<T: Float>(
        &self,
        columns: &[T],
        size: [usize; 2],
        tile: &Tile,
        image: &mut [T],
    ) {
        let width = tile.places.len();
        self.runs(size, tile, |element, pixels, places| {
            let (from, to) = (&columns[element * width..][places], &mut image[pixels]);
            let add = |(to, &from): (&mut T, &T)| *to += from;
            match self.stride[1] {
                1 => to.iter_mut().zip(from).for_each(add),
                stride => to.iter_mut().step_by(stride).zip(from).for_each(add),
            }
        });
    }
}

/// A part of the windows of an image side by side.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    /// Elements of the window, channel after channel.
    pub(super) depth: Range<usize>,
    /// Positions of the window.
    pub(super) places: Range<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(window: &Window, size: [usize; 2], channels: usize) -> Tile {
        let [down, across] = window.positions(size).unwrap();
        Tile {
            depth: 0..channels * window.area(),
            places: 0..down * across,
        }
    }

    #[test]
    fn the_elements_under_a_window() {
        let image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let window = Window::square(2, 1, 0);
        assert_eq!(window.positions([2, 3]), Some([1, 2]));
        let mut columns = [9.0; 8];
        window.gather(&image, [2, 3], &all(&window, [2, 3], 1), &mut columns);
        assert_eq!(columns, [1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 5.0, 6.0]);
        // With a stride and padding, the corners of the image are under different elements of the window.
        let window = Window::square(2, 2, 1);
        assert_eq!(window.positions([2, 3]), Some([2, 2]));
        let mut columns = [9.0; 16];
        let tile = all(&window, [2, 3], 1);
        window.gather(&image, [2, 3], &tile, &mut columns);
        let expected = [
            [0.0, 0.0, 0.0, 5.0],
            [0.0, 0.0, 4.0, 6.0],
            [0.0, 2.0, 0.0, 0.0],
            [1.0, 3.0, 0.0, 0.0],
        ];
        assert_eq!(columns, expected.as_flattened());
        let mut back = [0.0; 6];
        window.scatter(&columns, [2, 3], &tile, &mut back);
        assert_eq!(back, image);
        assert_eq!(Window::square(3, 1, 0).positions([2, 3]), None);
    }

    #[test]
    fn tiles_are_parts_of_the_windows() {
        let (size, channels) = ([5, 7], 2);
        let image: Vec<f64> = (1..=70).map(f64::from).collect();
        for (kernel, stride, padding) in [(1, 1, 0), (3, 1, 1), (3, 2, 1), (2, 3, 1), (4, 3, 2)] {
            let window = Window::square(kernel, stride, padding);
            let whole = all(&window, size, channels);
            let places = whole.places.len();
            let mut columns = vec![9.0; whole.depth.len() * places];
            window.gather(&image, size, &whole, &mut columns);
            let mut back = vec![0.0; 70];
            window.scatter(&columns, size, &whole, &mut back);
            let mut of_tiles = vec![0.0; 70];
            for first in whole.depth.clone().step_by(5) {
                for place in whole.places.clone().step_by(4) {
                    let tile = Tile {
                        depth: first..whole.depth.end.min(first + 5),
                        places: place..places.min(place + 4),
                    };
                    let mut part = vec![9.0; tile.depth.len() * tile.places.len()];
                    window.gather(&image, size, &tile, &mut part);
                    let rows = columns.chunks(places).skip(first);
                    let expected = rows
                        .take(tile.depth.len())
                        .flat_map(|row| &row[tile.places.clone()]);
                    assert!(part.iter().eq(expected), "{window:?} {tile:?}");
                    window.scatter(&part, size, &tile, &mut of_tiles);
                }
            }
            assert_eq!(of_tiles, back, "{window:?}");
        }
    }

    #[test]
    fn a_window_counts_each_element_as_often_as_it_covers_it() {
        for (kernel, stride, padding) in [(1, 1, 0), (3, 1, 1), (3, 2, 1), (2, 3, 1), (4, 3, 2)] {
            let (window, size) = (Window::square(kernel, stride, padding), [5, 7]);
            let [down, across] = window.positions(size).unwrap();
            let columns = vec![1.0; window.area() * down * across];
            let mut counts = vec![0.0; 35];
            window.scatter(&columns, size, &all(&window, size, 1), &mut counts);
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
