//! Pooling: the maximum or the mean of the elements under a window. candle's own pooling has wrong gradients.

use std::ops::Range;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::values::{Float, elements, storage, with_elements, with_float};
use super::window::{Tile, Window};
#[cfg(feature = "cuda")]
use crate::device::layer_kernels::{self, Numbers};
use crate::{Result, stop};

/// What pooling computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The greatest element in the image; NaN if there is one. Its gradient goes to the first greatest element.
    Max,
    /// The mean, in which elements outside of the image are 0.
    Mean,
}

/// Pools each channel of `x` `[rows, channels, height, width]`: `[rows, channels, positions down, positions across]`. The
/// padding of the window is at most half of its size, so that no position is outside of the image.
pub fn pool(x: &Tensor, window: Window, pooling: Pooling) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op1(Pool { window, pooling })?)
}

#[derive(Debug, Clone, Copy)]
struct Pool {
    window: Window,
    pooling: Pooling,
}

/// An image and the positions of the window on it.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    image: [usize; 2],
    positions: [usize; 2],
}

impl Sizes {
    fn pixels(self) -> usize {
        self.image[0] * self.image[1]
    }

    fn places(self) -> usize {
        self.positions[0] * self.positions[1]
    }
}

impl Pool {
    fn sizes(&self, x: &Shape) -> candle_core::Result<Sizes> {
        let (_, _, height, width) = x.dims4()?;
        let image = [height, width];
        match self.window.positions(image) {
            Some(positions) => Ok(Sizes { image, positions }),
            None => candle_core::bail!("{self:?}: x {x:?}"),
        }
    }

    /// The rows and columns of the image under a position of the window.
    fn under(&self, sizes: Sizes, place: usize) -> (Range<usize>, Range<usize>) {
        let ([height, width], [_, across]) = (sizes.image, sizes.positions);
        let rows = self.window.under(0, place / across, height);
        (rows, self.window.under(1, place % across, width))
    }

    /// Calls `each` with all pixels in the order in which each position has them: with pixels that are `stride` apart and
    /// the position that each of them is under, or with neighbours that are all under one position.
    fn runs(&self, sizes: Sizes, mut each: impl FnMut(Range<usize>, Range<usize>)) {
        if sizes.places() == 1 {
            let (rows, columns) = self.under(sizes, 0);
            for row in rows {
                let start = row * sizes.image[1];
                each(start + columns.start..start + columns.end, 0..1);
            }
            return;
        }
        let all = Tile {
            depth: 0..self.window.area(),
            places: 0..sizes.places(),
        };
        self.window
            .runs(sizes.image, &all, |_, pixels, places| each(pixels, places));
    }

    fn forward<T: Float>(&self, sizes: Sizes, x: &[T]) -> candle_core::Result<Vec<T>> {
        let count = T::of(self.window.area() as f64);
        let images = x.chunks_exact(sizes.pixels());
        let mut y = vec![T::zero(); images.len() * sizes.places()];
        for (image, y) in images.zip(y.chunks_exact_mut(sizes.places())) {
            stop::check()?;
            match self.pooling {
                Pooling::Max => {
                    y.fill(T::of(f64::NEG_INFINITY));
                    self.combine(sizes, image, y, |y, x| match x > y || x.is_nan() {
                        true => x,
                        false => y,
                    });
                }
                Pooling::Mean => {
                    self.combine(sizes, image, y, |y, x| y + x);
                    y.iter_mut().for_each(|y| *y /= count);
                }
            }
        }
        Ok(y)
    }

    /// Combines the value of each position with each pixel under it.
    fn combine<T: Float>(
        &self,
        sizes: Sizes,
        image: &[T],
        y: &mut [T],
        combined: impl Fn(T, T) -> T,
    ) {
        let pair = |(y, &x): (&mut T, &T)| *y = combined(*y, x);
        self.runs(sizes, |pixels, places| {
            let (x, y) = (&image[pixels], &mut y[places]);
            match (y, self.window.stride[1]) {
                ([y], _) => *y = x.iter().fold(*y, |y, &x| combined(y, x)),
                (y, 1) => y.iter_mut().zip(x).for_each(pair),
                (y, stride) => y.iter_mut().zip(x.iter().step_by(stride)).for_each(pair),
            }
        });
    }

    fn gradient<T: Float>(&self, sizes: Sizes, x: &[T], dy: &[T]) -> candle_core::Result<Vec<T>> {
        let mut dx = vec![T::zero(); x.len()];
        let images = x.chunks_exact(sizes.pixels());
        let of_images = dy
            .chunks_exact(sizes.places())
            .zip(dx.chunks_exact_mut(sizes.pixels()));
        let first = self.first_pixels(sizes);
        let mut greatest = first.clone();
        for (image, (dy, dx)) in images.zip(of_images) {
            stop::check()?;
            match self.pooling {
                Pooling::Max => {
                    greatest.copy_from_slice(&first);
                    self.find_greatest(sizes, image, &mut greatest);
                    let pairs = greatest.iter().zip(dy);
                    pairs.for_each(|(&pixel, &dy)| dx[pixel] += dy);
                }
                Pooling::Mean => self.spread(sizes, dy, dx),
            }
        }
        Ok(dx)
    }

    /// The first pixel under each position.
    fn first_pixels(&self, sizes: Sizes) -> Vec<usize> {
        let firsts = (0..sizes.places()).map(|place| {
            let (rows, columns) = self.under(sizes, place);
            rows.start * sizes.image[1] + columns.start
        });
        firsts.collect()
    }

    /// Moves the pixels of all positions from the first under each to its first greatest, or to its first NaN.
    fn find_greatest<T: Float>(&self, sizes: Sizes, image: &[T], greatest: &mut [usize]) {
        let replace = |greatest: &mut usize, pixel: usize| {
            let (found, known) = (image[pixel], image[*greatest]);
            if found > known || (found.is_nan() && !known.is_nan()) {
                *greatest = pixel;
            }
        };
        self.runs(sizes, |pixels, places| match &mut greatest[places] {
            [greatest] => pixels.for_each(|pixel| replace(greatest, pixel)),
            greatest => {
                let pixels = pixels.step_by(self.window.stride[1]);
                let pairs = greatest.iter_mut().zip(pixels);
                pairs.for_each(|(greatest, pixel)| replace(greatest, pixel));
            }
        });
    }

    /// Adds its share of the slope of each position to each pixel under it.
    fn spread<T: Float>(&self, sizes: Sizes, dy: &[T], dx: &mut [T]) {
        let count = T::of(self.window.area() as f64);
        self.runs(sizes, |pixels, places| {
            match (&dy[places], &mut dx[pixels]) {
                (&[dy], dx) => dx.iter_mut().for_each(|dx| *dx += dy / count),
                (dy, dx) => {
                    let dx = dx.iter_mut().step_by(self.window.stride[1]);
                    dx.zip(dy).for_each(|(dx, &dy)| *dx += dy / count);
                }
            }
        });
    }
}

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let sizes = self.sizes(layout.shape())?;
        let y = with_float!(x.dtype(), T => {
            storage(self.forward(sizes, elements::<T>(x, layout)?)?)
        });
        let (rows, channels, _, _) = layout.shape().dims4()?;
        let [down, across] = sizes.positions;
        Ok((y, (rows, channels, down, across).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let sizes = self.sizes(layout.shape())?;
        let window = self.window.on_gpu(sizes.image, sizes.positions);
        let is_max = self.pooling == Pooling::Max;
        let y = layer_kernels::pool(Numbers::new(x, layout)?, window, is_max)?;
        let (rows, channels, _, _) = layout.shape().dims4()?;
        let [down, across] = sizes.positions;
        Ok((y, (rows, channels, down, across).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let sizes = self.sizes(x.shape())?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let window = self.window.on_gpu(sizes.image, sizes.positions);
            let is_max = self.pooling == Pooling::Max;
            let dx = layer_kernels::pool_slopes(x, &dy.contiguous()?, window, is_max)?;
            return Ok(Some(dx));
        }
        with_float!(x.dtype(), T => {
            let dx = with_elements([x, dy], |[x, dy]: [&[T]; 2]| self.gradient(sizes, x, dy))?;
            Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// The value and the pixel of each position, one after the other.
    fn greatest(pool: &Pool, sizes: Sizes, image: &[f32]) -> Vec<(f32, usize)> {
        let places = (0..sizes.places()).map(|place| {
            let (rows, columns) = pool.under(sizes, place);
            let pixels = rows.flat_map(|row| {
                let columns = columns.clone();
                columns.map(move |column| row * sizes.image[1] + column)
            });
            let pixels: Vec<usize> = pixels.collect();
            let nan = pixels.iter().find(|pixel| image[**pixel].is_nan());
            let first = |best: usize, pixel: usize| match image[pixel] > image[best] {
                true => pixel,
                false => best,
            };
            let pixel = match nan {
                Some(pixel) => *pixel,
                None => pixels.into_iter().reduce(first).unwrap(),
            };
            (image[pixel], pixel)
        });
        places.collect()
    }

    #[test]
    fn the_first_greatest_pixel_or_the_first_nan_gets_the_slope() {
        let (height, width) = (6, 7);
        // Few different values, so that many are equal.
        let mut values: Vec<f32> = (0..height * width).map(|n| ((n * 5) % 4) as f32).collect();
        (values[9], values[17], values[30]) = (f32::NAN, f32::NAN, f32::INFINITY);
        values[..3].fill(f32::NEG_INFINITY);
        let windows = [
            (2, 2, 0),
            (3, 1, 1),
            (3, 2, 1),
            (2, 3, 1),
            (4, 3, 2),
            (5, 4, 0),
        ];
        let windows =
            windows.map(|(kernel, stride, padding)| Window::square(kernel, stride, padding));
        let whole = Window {
            kernel: [height, width],
            ..Window::square(1, 1, 0)
        };
        for window in windows.into_iter().chain([whole]) {
            let layer = Pool {
                window,
                pooling: Pooling::Max,
            };
            let x = Var::from_slice(&values, (1, 1, height, width), &Device::Cpu).unwrap();
            let sizes = layer.sizes(x.shape()).unwrap();
            let y = pool(&x, window, Pooling::Max)
                .unwrap()
                .flatten_all()
                .unwrap();
            let expected = greatest(&layer, sizes, &values);
            let found = y.to_vec1::<f32>().unwrap();
            let mut pairs = found.iter().zip(&expected);
            assert!(
                pairs.all(|(y, (value, _))| y == value || (y.is_nan() && value.is_nan())),
                "{window:?}: {found:?}"
            );
            let mut counts = vec![0.0; values.len()];
            expected.iter().for_each(|(_, pixel)| counts[*pixel] += 1.0);
            let gradients = y.sum_all().unwrap().backward().unwrap();
            let slopes = gradients.get(&x).unwrap().flatten_all().unwrap();
            assert_eq!(slopes.to_vec1::<f32>().unwrap(), counts, "{window:?}");
        }
    }
}
