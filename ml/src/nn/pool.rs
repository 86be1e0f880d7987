//! Pooling: the maximum or the mean of the elements under a window. candle's own pooling has wrong gradients.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::pool_rows::{Sizes, add_shares, add_to_greatest, write_greatest, write_means};
use super::values::{Float, elements, storage, with_elements, with_float};
use super::window::Window;
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

impl Pool {
    fn sizes(&self, x: &Shape) -> candle_core::Result<Sizes> {
        let (_, _, height, width) = x.dims4()?;
        let (window, image) = (self.window, [height, width]);
        // The kernels rely on it that each position has an element of the image.
        let mut axes = window.padding.iter().zip(&window.kernel);
        let is_inside = axes.all(|(padding, kernel)| padding < kernel);
        let fits = is_inside && !image.contains(&0) && !window.stride.contains(&0);
        let positions = fits.then(|| window.positions(image));
        let Some(positions) = positions.flatten() else {
            candle_core::bail!("{self:?}: x {x:?}");
        };
        Ok(Sizes {
            window,
            image,
            positions,
        })
    }

    fn forward<T: Float>(&self, sizes: Sizes, x: &[T]) -> Result<Vec<T>> {
        let mut row = vec![T::zero(); 2 * sizes.image[1]];
        let images = x.chunks_exact(sizes.pixels());
        let mut y = vec![T::zero(); images.len() * sizes.places()];
        for (image, y) in images.zip(y.chunks_exact_mut(sizes.places())) {
            stop::check()?;
            match self.pooling {
                Pooling::Max => write_greatest(&sizes, image, &mut row, y),
                Pooling::Mean => write_means(&sizes, image, &mut row[..sizes.image[1]], y),
            }
        }
        Ok(y)
    }

    fn gradient<T: Float>(&self, sizes: Sizes, [x, y, dy]: [&[T]; 3]) -> Result<Vec<T>> {
        let mut row = vec![T::zero(); sizes.image[1]];
        let mut dx = vec![T::zero(); x.len()];
        let (pixels, places) = (sizes.pixels(), sizes.places());
        let images = x.chunks_exact(pixels).zip(dx.chunks_exact_mut(pixels));
        let of_outputs = y.chunks_exact(places).zip(dy.chunks_exact(places));
        for ((image, dx), (y, dy)) in images.zip(of_outputs) {
            stop::check()?;
            match self.pooling {
                Pooling::Max => add_to_greatest(&sizes, image, y, dy, dx),
                Pooling::Mean => add_shares(&sizes, dy, &mut row, dx),
            }
        }
        Ok(dx)
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

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let sizes = self.sizes(x.shape())?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let window = self.window.on_gpu(sizes.image, sizes.positions);
            let is_max = self.pooling == Pooling::Max;
            let dx = layer_kernels::pool_slopes(x, &dy.contiguous()?, window, is_max)?;
            return Ok(Some(dx));
        }
        with_float!(x.dtype(), T => {
            let dx = with_elements([x, y, dy], |numbers: [&[T]; 3]| {
                Ok(self.gradient(sizes, numbers)?)
            })?;
            Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;

    #[test]
    fn positions_outside_of_an_image_are_an_error() {
        let x = Tensor::zeros((1, 2, 3, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(pool(&x, Window::square(2, 2, 1), Pooling::Max).is_ok());
        for window in [
            Window::square(2, 2, 2),
            Window::square(4, 1, 0),
            Window::square(2, 0, 0),
        ] {
            for pooling in [Pooling::Max, Pooling::Mean] {
                assert!(pool(&x, window, pooling).is_err(), "{window:?}");
            }
        }
    }

    /// The value and the pixel of each position, one after the other.
    fn greatest(sizes: &Sizes, image: &[f32]) -> Vec<(f32, usize)> {
        let places = (0..sizes.places()).map(|place| {
            let (line, position) = (place / sizes.positions[1], place % sizes.positions[1]);
            let columns = sizes.columns(position);
            let pixels = sizes.rows(line).flat_map(|row| {
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
            let expected = greatest(&sizes, &values);
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
