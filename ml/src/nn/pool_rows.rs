//! Pooling of one image: the rows under a line of positions are combined into one row, and the columns of that row into results.
//! Rows are vectors, so most of the work is elementwise.

use std::ops::Range;

use super::values::Float;
use super::window::Window;
use crate::simd::simd_fn;

/// An image `[height, width]` and the positions of a window on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) window: Window,
    pub(super) image: [usize; 2],
    pub(super) positions: [usize; 2],
}

impl Sizes {
    /// Elements of the image.
    pub(super) fn pixels(&self) -> usize {
        self.image[0] * self.image[1]
    }

    /// Positions of the window.
    pub(super) fn places(&self) -> usize {
        self.positions[0] * self.positions[1]
    }

    /// The rows of the image under a line of positions.
    #[inline(always)]
    pub(super) fn rows(&self, line: usize) -> Range<usize> {
        self.window.under(0, line, self.image[0])
    }

    /// The columns of the image under a position of a line.
    #[inline(always)]
    pub(super) fn columns(&self, position: usize) -> Range<usize> {
        self.window.under(1, position, self.image[1])
    }

    /// Whether each position covers two columns that no other covers.
    #[inline(always)]
    fn has_pairs(&self) -> bool {
        let Window {
            kernel,
            stride,
            padding,
        } = self.window;
        (kernel[1], stride[1], padding[1]) == (2, 2, 0)
    }

    /// Whether each position covers two rows and two columns that no other covers.
    #[inline(always)]
    fn has_squares(&self) -> bool {
        self.window == Window::square(2, 2, 0)
    }
}

simd_fn! {
    /// Writes the greatest element under each position, or NaN if there is one. `row` has twice the width of the image.
    pub(super) fn write_greatest<'a, T: Float>(
        sizes: &'a Sizes,
        image: &'a [T],
        row: &'a mut [T],
        y: &'a mut [T],
    ) {
        let (width, across) = (sizes.image[1], sizes.positions[1]);
        let (mut known, mut next) = row.split_at_mut(width);
        for (line, y) in y.chunks_exact_mut(across).enumerate() {
            let mut rows = image[rows_of(sizes, line)].chunks_exact(width);
            if let Some(first) = rows.next() {
                known.copy_from_slice(first);
            }
            for x in rows {
                // Into other memory: replacing only some numbers in place makes masked stores, which are slow on some
                // processors.
                let pairs = known.iter().zip(x);
                next.iter_mut().zip(pairs).for_each(|(next, (&known, &x))| *next = greater(known, x));
                std::mem::swap(&mut known, &mut next);
            }
            if sizes.has_pairs() {
                let (pairs, _) = known.as_chunks::<2>();
                y.iter_mut().zip(pairs).for_each(|(y, &[a, b])| *y = greater(a, b));
                continue;
            }
            y.fill(T::of(f64::NEG_INFINITY));
            across_row(sizes, known, y, greater);
        }
    }
}

simd_fn! {
    /// Adds the slope of each position to the first element that is the greatest under it, or to the first NaN. `y` are the
    /// greatest elements.
    pub(super) fn add_to_greatest<'a, T: Float>(
        sizes: &'a Sizes,
        image: &'a [T],
        y: &'a [T],
        dy: &'a [T],
        dx: &'a mut [T],
    ) {
        let (width, across) = (sizes.image[1], sizes.positions[1]);
        let lines = y.chunks_exact(across).zip(dy.chunks_exact(across));
        for (line, (y, dy)) in lines.enumerate() {
            if sizes.has_squares() {
                let pixels = rows_of(sizes, line);
                write_squares(&image[pixels.clone()], y, dy, &mut dx[pixels]);
                continue;
            }
            for (position, (&y, &dy)) in y.iter().zip(dy).enumerate() {
                let columns = sizes.columns(position);
                for row in sizes.rows(line) {
                    let start = row * width + columns.start;
                    let x = &image[start..][..columns.len()];
                    if let Some(column) = x.iter().position(|&x| is_greatest(x, y)) {
                        dx[start + column] += dy;
                        break;
                    }
                }
            }
        }
    }
}

simd_fn! {
    /// Writes the mean under each position, in which elements outside of the image are 0. `row` has the width of the image.
    pub(super) fn write_means<'a, T: Float>(
        sizes: &'a Sizes,
        image: &'a [T],
        row: &'a mut [T],
        y: &'a mut [T],
    ) {
        let (width, across) = (sizes.image[1], sizes.positions[1]);
        let count = T::of(sizes.window.area() as f64);
        for (line, y) in y.chunks_exact_mut(across).enumerate() {
            let mut rows = image[rows_of(sizes, line)].chunks_exact(width);
            match rows.next() {
                Some(first) => row.copy_from_slice(first),
                None => row.fill(T::zero()),
            }
            for x in rows {
                row.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
            }
            if sizes.has_pairs() {
                let (pairs, _) = row.as_chunks::<2>();
                y.iter_mut().zip(pairs).for_each(|(y, &[a, b])| *y = (a + b) / count);
                continue;
            }
            y.fill(T::zero());
            across_row(sizes, row, y, |sum, x| sum + x);
            y.iter_mut().for_each(|y| *y /= count);
        }
    }
}

simd_fn! {
    /// Adds its share of the slope of each position to each element under it. `row` has the width of the image.
    pub(super) fn add_shares<'a, T: Float>(
        sizes: &'a Sizes,
        dy: &'a [T],
        row: &'a mut [T],
        dx: &'a mut [T],
    ) {
        let (width, across) = (sizes.image[1], sizes.positions[1]);
        let count = T::of(sizes.window.area() as f64);
        for (line, dy) in dy.chunks_exact(across).enumerate() {
            row.fill(T::zero());
            if sizes.has_pairs() {
                let (pairs, _) = row.as_chunks_mut::<2>();
                pairs.iter_mut().zip(dy).for_each(|(pair, &dy)| *pair = [dy / count; 2]);
            } else {
                for (position, &dy) in dy.iter().enumerate() {
                    let share = dy / count;
                    let columns = row[sizes.columns(position)].iter_mut();
                    columns.for_each(|dx| *dx += share);
                }
            }
            for dx in dx[rows_of(sizes, line)].chunks_exact_mut(width) {
                dx.iter_mut().zip(&*row).for_each(|(dx, &share)| *dx += share);
            }
        }
    }
}

/// Combines each result of a line with the columns under it.
#[inline(always)]
fn across_row<T: Float>(sizes: &Sizes, row: &[T], y: &mut [T], combined: impl Fn(T, T) -> T) {
    let pair = |(y, &x): (&mut T, &T)| *y = combined(*y, x);
    let Window {
        kernel,
        stride,
        padding,
    } = sizes.window;
    for offset in 0..kernel[1] {
        let positions = sizes.window.inside(1, offset, row.len(), y.len());
        if positions.is_empty() {
            continue;
        }
        let x = &row[positions.start * stride[1] + offset - padding[1]..];
        let y = y[positions].iter_mut();
        match stride[1] {
            1 => y.zip(x).for_each(pair),
            2 => {
                // The last column may have no neighbour.
                let (pairs, rest) = x.as_chunks::<2>();
                let x = pairs.iter().map(|[x, _]| x).chain(rest);
                y.zip(x).for_each(pair);
            }
            stride => y.zip(x.iter().step_by(stride)).for_each(pair),
        }
    }
}

/// The elements of the rows under a line of positions.
#[inline(always)]
fn rows_of(sizes: &Sizes, line: usize) -> Range<usize> {
    let (rows, width) = (sizes.rows(line), sizes.image[1]);
    rows.start * width..rows.end * width
}

/// The greater of two numbers, or NaN if one is.
#[inline(always)]
pub(super) fn greater<T: Float>(known: T, x: T) -> T {
    match (x > known) | x.is_nan() {
        true => x,
        false => known,
    }
}

/// Whether a number is the greatest one, which is NaN if there is a NaN.
#[inline(always)]
pub(super) fn is_greatest<T: Float>(x: T, greatest: T) -> bool {
    (x == greatest) | x.is_nan()
}

/// Writes the slopes of two rows: that of each position to the first greatest element of its square.
#[inline(always)]
fn write_squares<T: Float>(image: &[T], y: &[T], dy: &[T], dx: &mut [T]) {
    let (upper, lower) = image.split_at(image.len() / 2);
    let ((upper, _), (lower, _)) = (upper.as_chunks::<2>(), lower.as_chunks::<2>());
    let (to_upper, to_lower) = dx.split_at_mut(dx.len() / 2);
    let ((to_upper, _), (to_lower, _)) =
        (to_upper.as_chunks_mut::<2>(), to_lower.as_chunks_mut::<2>());
    let of_positions = y.iter().zip(dy).zip(upper.iter().zip(lower));
    let targets = to_upper.iter_mut().zip(to_lower);
    for (((&y, &dy), (&[a, b], &[c, d])), (upper, lower)) in of_positions.zip(targets) {
        let slope = |is_first: bool| if is_first { dy } else { T::zero() };
        let (in_a, in_b, in_c) = (is_greatest(a, y), is_greatest(b, y), is_greatest(c, y));
        let in_d = is_greatest(d, y);
        let rest = !(in_a | in_b);
        *upper = [slope(in_a), slope(!in_a & in_b)];
        *lower = [slope(rest & in_c), slope(rest & !in_c & in_d)];
    }
}
