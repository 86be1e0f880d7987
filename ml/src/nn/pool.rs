//! Pooling: the maximum or the mean of the elements under a window. candle's own pooling has wrong gradients.

use std::ops::Range;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};

use super::values::{Float, cpu_slice, part};
use super::window::Window;
use crate::Result;
#[cfg(feature = "cuda")]
use crate::device::layer_kernels::{self, Numbers};

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

impl Pool {
    fn sizes(&self, x: &Shape) -> candle_core::Result<Sizes> {
        let (_, _, height, width) = x.dims4()?;
        let image = [height, width];
        match self.window.positions(image) {
            Some(positions) => Ok(Sizes { image, positions }),
            None => candle_core::bail!("{self:?}: x {x:?}"),
        }
    }

    /// The rows and columns of the image under each position of the window.
    fn windows(&self, sizes: Sizes) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let (window, [height, width]) = (self.window, sizes.image);
        let [down, across] = sizes.positions;
        (0..down * across).map(move |position| {
            let rows = window.under(0, position / across, height);
            (rows, window.under(1, position % across, width))
        })
    }

    fn forward<T: Float>(&self, sizes: Sizes, x: &[T]) -> Vec<T> {
        let [height, width] = sizes.image;
        let count = T::from_f64(self.window.area() as f64);
        let images = x.chunks_exact(height * width);
        let mut y = Vec::with_capacity(images.len() * sizes.positions[0] * sizes.positions[1]);
        for image in images {
            y.extend(
                self.windows(sizes)
                    .map(|(rows, columns)| match self.pooling {
                        Pooling::Max => image[greatest(image, width, rows, columns)],
                        Pooling::Mean => {
                            let mut sum = T::zero();
                            for row in rows {
                                let elements = &image[row * width..][columns.clone()];
                                elements.iter().for_each(|&element| sum += element);
                            }
                            sum / count
                        }
                    }),
            );
        }
        y
    }

    fn gradient<T: Float>(&self, x: &Tensor, dy: &Tensor) -> candle_core::Result<Tensor> {
        let sizes = self.sizes(x.shape())?;
        let [height, width] = sizes.image;
        let count = T::from_f64(self.window.area() as f64);
        let dy = dy.contiguous()?;
        let (x_storage, x_layout) = x.storage_and_layout();
        let (dy_storage, dy_layout) = dy.storage_and_layout();
        let x_values = part(cpu_slice::<T>(&x_storage)?, x_layout);
        let dy_values = part(cpu_slice::<T>(&dy_storage)?, dy_layout);
        let mut dx = vec![T::zero(); x_values.len()];
        let images = x_values.chunks_exact(height * width);
        let slopes = dy_values.chunks_exact(sizes.positions[0] * sizes.positions[1]);
        let results = dx.chunks_exact_mut(height * width);
        for ((image, dy), dx) in images.zip(slopes).zip(results) {
            for (&dy, (rows, columns)) in dy.iter().zip(self.windows(sizes)) {
                match self.pooling {
                    Pooling::Max => dx[greatest(image, width, rows, columns)] += dy,
                    Pooling::Mean => {
                        for row in rows {
                            let elements = &mut dx[row * width..][columns.clone()];
                            elements.iter_mut().for_each(|dx| *dx += dy / count);
                        }
                    }
                }
            }
        }
        Tensor::from_vec(dx, x.shape(), x.device())
    }
}

/// The place of the first greatest element in these rows and columns, or of the first NaN.
fn greatest<T: Float>(
    image: &[T],
    width: usize,
    rows: Range<usize>,
    columns: Range<usize>,
) -> usize {
    let mut best = rows.start * width + columns.start;
    for row in rows {
        for place in row * width + columns.start..row * width + columns.end {
            let (element, greatest) = (image[place], image[best]);
            let is_first_nan = element.to_f64().is_nan() && !greatest.to_f64().is_nan();
            if element > greatest || is_first_nan {
                best = place;
            }
        }
    }
    best
}

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let sizes = self.sizes(layout.shape())?;
        let y = match x {
            CpuStorage::F32(x) => CpuStorage::F32(self.forward(sizes, part(x, layout))),
            CpuStorage::F64(x) => CpuStorage::F64(self.forward(sizes, part(x, layout))),
            _ => candle_core::bail!("pool: neither f32 nor f64"),
        };
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
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let sizes = self.sizes(x.shape())?;
            let window = self.window.on_gpu(sizes.image, sizes.positions);
            let is_max = self.pooling == Pooling::Max;
            let dx = layer_kernels::pool_slopes(x, &dy.contiguous()?, window, is_max)?;
            return Ok(Some(dx));
        }
        Ok(Some(match x.dtype() {
            DType::F32 => self.gradient::<f32>(x, dy)?,
            _ => self.gradient::<f64>(x, dy)?,
        }))
    }
}
