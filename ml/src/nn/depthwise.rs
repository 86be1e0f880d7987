//! Convolution of a channel that sees no other: each element of the window times the row of pixels under it. Only
//! convolutions that `direct` does not take come here, such as those of f64 and of processors without AVX2.

use super::values::Float;
use super::window::Window;
use crate::simd::simd_fn;

/// Adds the convolution of `image` `[height, width]` with `weight` `[height, width]` of the window to `y`, `[positions down,
/// positions across]`.
pub(super) fn depthwise<T: Float>(
    window: &Window,
    image: &[T],
    [height, width]: [usize; 2],
    weight: &[T],
    y: &mut [T],
) {
    let Some([down, across]) = window.positions([height, width]) else {
        return;
    };
    let rows_of = |element| window.inside(0, element, height, down);
    let columns_of = |element| window.inside(1, element, width, across);
    for (row, y) in y.chunks_exact_mut(across).enumerate() {
        for (element, weight) in weight.iter().enumerate() {
            let (above, before) = (element / window.kernel[1], element % window.kernel[1]);
            let columns = columns_of(before);
            if !rows_of(above).contains(&row) || columns.is_empty() {
                continue;
            }
            let line = row * window.stride[0] + above - window.padding[0];
            let first = columns.start * window.stride[1] + before - window.padding[1];
            let pixels = &image[line * width + first..(line + 1) * width];
            match window.stride[1] {
                1 => add_row(*weight, pixels, &mut y[columns]),
                stride => {
                    let pixels = pixels.iter().step_by(stride);
                    let pairs = y[columns].iter_mut().zip(pixels);
                    pairs.for_each(|(y, &x)| *y += *weight * x);
                }
            }
        }
    }
}

simd_fn! {
    /// Adds `weight * x` to each `y`.
    fn add_row<'a, T: Float>(weight: T, x: &'a [T], y: &'a mut [T]) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y += weight * x);
    }
}
