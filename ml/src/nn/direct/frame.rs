//! [`Frame`]: an image with zeros around it, as the kernels read it.

use super::lanes::LANES_MAX;

/// An image `[channels, height, width]` with rows and columns of zeros around it. Columns `step` apart stand side by side, so
/// that a window that moves by `step` reads numbers side by side.
///
/// ```text
/// step = 2:   c0 c1 c2 c3 c4   →   c0 c2 c4 c1 c3 ·
/// ```
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    channels: usize,
    image: [usize; 2],
    /// Rows and columns of zeros before the image.
    before: [usize; 2],
    /// All rows, and the columns of a part.
    rows: usize,
    columns: usize,
    step: usize,
    /// Whether the frame is the image, which is then read as it is.
    is_image: bool,
}

/// What is around an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Margins {
    /// Rows and columns of zeros before the image.
    pub(super) before: [usize; 2],
    /// The rows and columns that are read, from the zeros on. Others of the image are left out.
    pub(super) size: [usize; 2],
    /// How many columns a window moves by.
    pub(super) step: usize,
    /// Whether vectors are read that end behind the last number.
    pub(super) has_vectors: bool,
}

impl Frame {
    /// The frame of an image `[channels, height, width]`.
    pub(super) fn new(channels: usize, image: [usize; 2], margins: Margins) -> Self {
        let Margins {
            before,
            size,
            step,
            has_vectors,
        } = margins;
        let is_inside = before == [0; 2] && size[0] <= image[0] && size[1] <= image[1];
        let is_image = is_inside && step == 1 && !has_vectors;
        let [rows, columns] = match is_image {
            true => image,
            false => [size[0], size[1].div_ceil(step)],
        };
        Self {
            channels,
            image,
            before,
            rows,
            columns,
            step,
            is_image,
        }
    }

    /// Whether the frame is the image.
    pub(super) fn is_image(&self) -> bool {
        self.is_image
    }

    /// Rows or columns of zeros before the image.
    pub(super) fn before(&self, axis: usize) -> usize {
        self.before[axis]
    }

    /// The place of a row and a column of a channel; both count from the zeros before the image.
    pub(super) fn place(&self, channel: usize, row: usize, column: usize) -> usize {
        let part = (channel * self.rows + row) * self.step + column % self.step;
        part * self.columns + column / self.step
    }

    /// The numbers of the frame. Vectors that begin at the last of them end within the frame.
    pub(super) fn len(&self) -> usize {
        self.channels * self.rows * self.step * self.columns + LANES_MAX
    }

    /// Copies an image into a frame whose other numbers are 0.
    pub(super) fn fill(&self, image: &[f32], frame: &mut [f32]) {
        let [height, width] = self.image;
        let [above, left] = self.before;
        let rows = height.min(self.rows.saturating_sub(above));
        let line = self.step * self.columns;
        for first in 0..self.step.min(width) {
            let (start, place) = (first + left, self.place(0, above, first + left));
            let columns = self.columns.saturating_sub(start / self.step);
            let count = columns.min((width - first).div_ceil(self.step));
            if count == 0 {
                continue;
            }
            for channel in 0..self.channels {
                for row in 0..rows {
                    let from = &image[(channel * height + row) * width..][first..width];
                    let to = place + (channel * self.rows + row) * line;
                    copy_columns(from, self.step, &mut frame[to..][..count]);
                }
            }
        }
    }
}

/// Copies the first number of each `step`.
fn copy_columns(from: &[f32], step: usize, to: &mut [f32]) {
    match step {
        1 => to.copy_from_slice(&from[..to.len()]),
        2 => {
            let (pairs, rest) = from.as_chunks::<2>();
            let whole = to.len().min(pairs.len());
            let (of_pairs, last) = to.split_at_mut(whole);
            let numbers = of_pairs.iter_mut().zip(pairs);
            numbers.for_each(|(to, [from, _])| *to = *from);
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        }
        step => {
            let numbers = to.iter_mut().zip(from.iter().step_by(step));
            numbers.for_each(|(to, from)| *to = *from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn margins(before: [usize; 2], size: [usize; 2], step: usize) -> Margins {
        Margins {
            before,
            size,
            step,
            has_vectors: false,
        }
    }

    #[test]
    fn a_frame_has_zeros_around_the_image() {
        let image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let frame = Frame::new(1, [2, 3], margins([1, 1], [4, 5], 1));
        let mut values = vec![0.0; frame.len()];
        frame.fill(&image, &mut values);
        let rows = [
            [0.0, 0.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 2.0, 3.0, 0.0],
            [0.0, 4.0, 5.0, 6.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.0],
        ];
        assert_eq!(values[..20], *rows.as_flattened());
        assert_eq!(values[frame.place(0, 2, 3)], 6.0);
    }

    #[test]
    fn columns_that_are_a_step_apart_stand_side_by_side() {
        let image: Vec<f32> = (1..=10u8).map(f32::from).collect();
        let frame = Frame::new(2, [1, 5], margins([0, 1], [1, 5], 2));
        let mut values = vec![0.0; frame.len()];
        frame.fill(&image, &mut values);
        let channels = [
            [0.0, 2.0, 4.0, 1.0, 3.0, 5.0],
            [0.0, 7.0, 9.0, 6.0, 8.0, 10.0],
        ];
        assert_eq!(values[..12], *channels.as_flattened());
        assert_eq!(values[frame.place(1, 0, 4)], 9.0);
    }

    #[test]
    fn rows_and_columns_that_are_not_read_are_left_out() {
        let image: Vec<f32> = (1..=12u8).map(f32::from).collect();
        let frame = Frame::new(1, [3, 4], margins([1, 0], [3, 3], 1));
        let mut values = vec![0.0; frame.len()];
        frame.fill(&image, &mut values);
        let rows = [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [5.0, 6.0, 7.0]];
        assert_eq!(values[..9], *rows.as_flattened());
        assert!(values[9..].iter().all(|value| *value == 0.0));
    }

    #[test]
    fn an_image_that_is_read_as_it_is_needs_no_copy() {
        let inside = margins([0, 0], [5, 4], 1);
        let frame = Frame::new(3, [5, 6], inside);
        assert!(frame.is_image());
        assert_eq!(frame.place(1, 2, 3), 45);
        let has_vectors = Margins {
            has_vectors: true,
            ..inside
        };
        for margins in [
            margins([0, 1], [5, 6], 1),
            margins([0, 0], [5, 7], 1),
            margins([0, 0], [5, 6], 2),
            has_vectors,
        ] {
            assert!(!Frame::new(3, [5, 6], margins).is_image(), "{margins:?}");
        }
    }
}
