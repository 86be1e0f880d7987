//! [`Unfolded`]: a convolution as a product, the windows of an image side by side, times the weights.
//!
//! ```text
//! forward   y  = activation(W columns(x) + b)   a product for each tile of the windows of a row and group of channels
//! backward  dz = dy * activation'(y)
//!           dW = Σ dz columns(x)ᵀ, db           summed over the rows and tiles in their order
//!           dx = scattered Wᵀ dz                only if x has a gradient
//! ```
//! All windows of an image take the memory of the image times the area of the window. A tile of them is copied, used while it
//! is in the cache, and forgotten; for the gradient it is copied again. Its size follows from the sizes of the layer, and each
//! row has products of its own: so the result of a row depends neither on the rows beside it nor on the number of threads.

use super::activation::{Fused, finish};
use super::depthwise::depthwise;
use super::product::{Matrix, MatrixMut, add_product, write_product};
use super::sums::sum;
use super::values::Float;
use super::window::{Tile, Window};
use crate::simd::simd_fn;
use crate::{Result, stop};

/// The most memory of a tile, about the size of a core's cache.
pub(super) const TILE_BYTES: usize = 1 << 20;
/// The least positions of a tile, if there are so many. Each tile reads the weights, so that few positions cost more.
const TILE_PLACES_MIN: usize = 256;
/// Positions come in multiples of this number, with which products are fastest.
const TILE_PLACES_STEP: usize = 64;

/// The sizes of one group of channels of one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) rows: usize,
    /// Channels of the input.
    pub(super) channels: usize,
    /// Channels of the output.
    pub(super) outputs: usize,
    pub(super) image: [usize; 2],
    pub(super) positions: [usize; 2],
    /// The elements under the window in all channels.
    pub(super) depth: usize,
}

impl Sizes {
    /// Elements of the input.
    fn inputs(&self) -> usize {
        self.channels * self.image[0] * self.image[1]
    }

    /// Positions of the window.
    pub(super) fn places(&self) -> usize {
        self.positions[0] * self.positions[1]
    }

    /// The weights of a group, `[outputs, depth]`.
    fn weights<'a, T>(&self, weights: &'a [T], group: usize) -> Matrix<'a, T> {
        let count = self.outputs * self.depth;
        let of_group = &weights[group * count..][..count];
        Matrix::new(of_group, self.outputs, self.depth)
    }
}

/// A convolution as products.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unfolded {
    pub(super) window: Window,
    pub(super) groups: usize,
    pub(super) activation: Option<Fused>,
}

impl Unfolded {
    /// The output, of all rows.
    pub(super) fn forward<T: Float>(
        &self,
        sizes: &Sizes,
        x: &[T],
        weight: &[T],
        bias: &[T],
    ) -> Result<Vec<T>> {
        let (places, outputs) = (sizes.places(), sizes.outputs);
        let mut y = vec![T::zero(); sizes.rows * self.groups * outputs * places];
        if sizes.channels == 1 && outputs == 1 {
            self.forward_depthwise(sizes, x, weight, bias, &mut y)?;
            return Ok(y);
        }
        let mut scratch = self.scratch(sizes);
        let images = x.chunks_exact(sizes.inputs());
        let results = y.chunks_exact_mut(outputs * places);
        for (index, (image, y)) in images.zip(results).enumerate() {
            let group = index % self.groups;
            let weight = sizes.weights(weight, group);
            let bias = &bias[group * outputs..][..outputs];
            for tile in self.tiles::<T>(sizes) {
                stop::check()?;
                let columns = self.columns(sizes, image, &tile, &mut scratch);
                let weight = weight.columns(tile.depth.clone());
                let to = MatrixMut::new(y, outputs, places).columns(tile.places.clone());
                match tile.depth.start {
                    0 => write_product(weight, columns, to),
                    _ => add_product(weight, columns, to),
                }
                if tile.depth.end == sizes.depth {
                    finish(self.activation, y, bias, &tile.places);
                }
            }
        }
        Ok(y)
    }

    /// The forward pass if each group is one channel, which a product would multiply by a matrix of one row.
    fn forward_depthwise<T: Float>(
        &self,
        sizes: &Sizes,
        x: &[T],
        weight: &[T],
        bias: &[T],
        y: &mut [T],
    ) -> Result<()> {
        let places = sizes.places();
        let images = x.chunks_exact(sizes.inputs());
        for (index, (image, y)) in images.zip(y.chunks_exact_mut(places)).enumerate() {
            stop::check()?;
            let channel = index % self.groups;
            let weight = &weight[channel * sizes.depth..][..sizes.depth];
            depthwise(&self.window, image, sizes.image, weight, y);
            finish(self.activation, y, &bias[channel..=channel], &(0..places));
        }
        Ok(())
    }

    /// The slopes of x if `has_input_gradient`, and of the weights, from those of the output before its activation.
    pub(super) fn slopes<T: Float>(
        &self,
        sizes: &Sizes,
        [x, weights, dz]: [&[T]; 3],
        has_input_gradient: bool,
    ) -> Result<(Option<Vec<T>>, Vec<T>)> {
        let (places, outputs, inputs) = (sizes.places(), sizes.outputs, sizes.inputs());
        let mut dw = vec![T::zero(); weights.len()];
        let mut dx = has_input_gradient.then(|| vec![T::zero(); x.len()]);
        let mut scratch = self.scratch(sizes);
        let images = x.chunks_exact(inputs);
        let slopes = dz.chunks_exact(outputs * places);
        for (index, (image, dz)) in images.zip(slopes).enumerate() {
            let group = index % self.groups;
            let weight = sizes.weights(weights, group);
            let count = outputs * sizes.depth;
            let dw = &mut dw[group * count..][..count];
            for tile in self.tiles::<T>(sizes) {
                stop::check()?;
                let slopes = Matrix::new(dz, outputs, places).columns(tile.places.clone());
                let columns = self.columns(sizes, image, &tile, &mut scratch);
                let to = MatrixMut::new(dw, outputs, sizes.depth).columns(tile.depth.clone());
                add_product(slopes, columns.transposed(), to);
                let Some(dx) = &mut dx else {
                    continue;
                };
                let dx = &mut dx[index * inputs..][..inputs];
                let weight = weight.columns(tile.depth.clone()).transposed();
                let (depth, places) = (tile.depth.len(), tile.places.len());
                if self.window.is_one_element() {
                    write_product(weight, slopes, MatrixMut::new(dx, depth, places));
                } else {
                    let columns = &mut scratch[..depth * places];
                    write_product(weight, slopes, MatrixMut::new(columns, depth, places));
                    self.window.scatter(columns, sizes.image, &tile, dx);
                }
            }
        }
        Ok((dx, dw))
    }

    /// The slopes of the bias.
    pub(super) fn bias_slopes<T: Float>(&self, sizes: &Sizes, dz: &[T]) -> Vec<T> {
        let mut db = vec![T::zero(); self.groups * sizes.outputs];
        add_channels(dz, sizes.places(), &mut db);
        db
    }

    /// The size of a tile of numbers of `bytes` bytes: elements of the windows, and positions.
    fn tile_size(&self, sizes: &Sizes, bytes: usize) -> [usize; 2] {
        let places = sizes.places();
        // A window of one element is copied nowhere.
        if self.window.is_one_element() {
            return [sizes.depth, places];
        }
        let numbers = TILE_BYTES / bytes;
        let whole = numbers / sizes.depth / TILE_PLACES_STEP * TILE_PLACES_STEP;
        let places = places.min(whole.max(TILE_PLACES_MIN));
        let parts = sizes.depth.div_ceil(numbers / places);
        [sizes.depth.div_ceil(parts), places]
    }

    /// The windows of an image in tiles: all elements of the first positions, then those of the next.
    fn tiles<T>(&self, sizes: &Sizes) -> impl Iterator<Item = Tile> {
        let (depth, places) = (sizes.depth, sizes.places());
        let [elements_at_once, places_at_once] = self.tile_size(sizes, size_of::<T>());
        let starts = (0..places).step_by(places_at_once);
        starts.flat_map(move |place| {
            let starts = (0..depth).step_by(elements_at_once);
            starts.map(move |element| Tile {
                depth: element..depth.min(element + elements_at_once),
                places: place..places.min(place + places_at_once),
            })
        })
    }

    /// Memory for a tile.
    fn scratch<T: Float>(&self, sizes: &Sizes) -> Vec<T> {
        match self.window.is_one_element() {
            true => vec![],
            false => {
                let [elements, places] = self.tile_size(sizes, size_of::<T>());
                vec![T::zero(); elements * places]
            }
        }
    }

    /// A tile of the windows of an image, `[elements of the windows, positions]`.
    fn columns<'a, T: Float>(
        &self,
        sizes: &Sizes,
        image: &'a [T],
        tile: &Tile,
        scratch: &'a mut [T],
    ) -> Matrix<'a, T> {
        let (depth, places) = (tile.depth.len(), tile.places.len());
        if self.window.is_one_element() {
            return Matrix::new(image, depth, places);
        }
        let columns = &mut scratch[..depth * places];
        self.window.gather(image, sizes.image, tile, columns);
        Matrix::new(columns, depth, places)
    }
}

simd_fn! {
    /// Adds the sums of channels of `places` numbers.
    fn add_channels<'a, T: Float>(dz: &'a [T], places: usize, sums: &'a mut [T]) {
        for dz in dz.chunks_exact(sums.len() * places) {
            for (total, dz) in sums.iter_mut().zip(dz.chunks_exact(places)) {
                *total += sum(dz, |dz| dz);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::convolution::Convolution;
    use super::*;

    /// A convolution of one group, and its sizes for an image.
    fn operation(window: Window, channels: usize, image: [usize; 2]) -> (Unfolded, Sizes) {
        let operation = Unfolded {
            window,
            groups: 1,
            activation: None,
        };
        let sizes = Sizes {
            rows: 1,
            channels,
            outputs: 1,
            image,
            positions: window.positions(image).unwrap(),
            depth: channels * window.area(),
        };
        (operation, sizes)
    }

    #[test]
    fn a_tile_is_small_whatever_the_image_and_the_window_are() {
        for (window, channels, image) in [
            (Window::square(3, 1, 1), 1, [5, 5]),
            (Window::square(3, 1, 1), 64, [64, 64]),
            (Window::square(31, 1, 15), 32, [64, 64]),
            (Window::square(512, 1, 512), 1, [8, 8]),
            (Window::square(1_024, 1, 1_024), 65_536, [64, 64]),
            (Window::line(1_024, 3, 7), 512, [1, 100_000]),
        ] {
            let (operation, sizes) = operation(window, channels, image);
            let convolution = Convolution { window, groups: 1 };
            for bytes in [4, 8] {
                let [depth, places] = operation.tile_size(&sizes, bytes);
                assert!(depth > 0 && places > 0 && depth <= sizes.depth);
                assert!(depth * places * bytes <= TILE_BYTES, "{window:?}");
                let scratch = convolution.scratch_bytes([channels, 1], image);
                assert!(depth * places * bytes <= scratch, "{window:?}");
            }
        }
    }

    #[test]
    fn tiles_cover_each_element_of_each_window_once() {
        for (window, channels, image) in [
            (Window::square(1, 1, 0), 3, [4, 5]),
            (Window::square(3, 1, 1), 2, [6, 7]),
            (Window::square(5, 1, 2), 200, [30, 31]),
        ] {
            let (operation, sizes) = operation(window, channels, image);
            let mut counts = vec![0u8; sizes.depth * sizes.places()];
            let mut next = (0, 0);
            for tile in operation.tiles::<f64>(&sizes) {
                assert_eq!((tile.places.start, tile.depth.start), next);
                for element in tile.depth.clone() {
                    let row = &mut counts[element * sizes.places()..][tile.places.clone()];
                    row.iter_mut().for_each(|count| *count += 1);
                }
                next = match tile.depth.end == sizes.depth {
                    true => (tile.places.end, 0),
                    false => (tile.places.start, tile.depth.end),
                };
            }
            assert!(counts.iter().all(|count| *count == 1), "{window:?}");
        }
    }
}
