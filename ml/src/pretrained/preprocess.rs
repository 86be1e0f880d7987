//! [`Preprocess`]: the numbers that a network takes for an image, as the files beside its weights describe them.
//!
//! ```text
//! image ─ resize ─ cut out of the middle ─ (level × factor − mean) ÷ deviation ─▶ [channels, height, width]
//! ```
//! Images are resized as Pillow does it, with which Hugging Face and timm were written; their newer versions may differ by a level.

use vatic_images::{Filter, Image, PIXELS_MAX, resize};

use super::config::{Config, EDGE_MAX};
use crate::Result;

/// The levels of a channel.
pub(super) const LEVELS: usize = 256;
/// The part of the shorter edge that is kept, if the files do not say it.
pub(super) const CROP_SHARE: f64 = 0.875;

/// The way from an image to numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Preprocess {
    pub(super) resizing: Resizing,
    pub(super) filter: Filter,
    pub(super) rounding: Rounding,
    /// The height and the width of what is cut out of the middle: the input of the network.
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
    /// The number of each level, for each channel.
    pub(super) levels: Vec<[f32; LEVELS]>,
}

/// How an image is resized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Resizing {
    /// Not at all.
    None,
    /// Not at all: it has the size of the network's input.
    Never,
    /// The shorter edge to this length, the other one in proportion.
    Shorter(usize),
    /// To this height and width.
    To([usize; 2]),
}

/// Where the middle is, if the space around it cannot be halved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rounding {
    /// Further up and left.
    Down,
    /// Half of the space, rounded to an even number; further up and left around a smaller image.
    Even,
}

impl Preprocess {
    /// The height and the width of the input of the network.
    pub(crate) fn size(&self) -> [usize; 2] {
        self.size
    }

    /// The channels of the input of the network: 1 (grey) or 3 (RGB).
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// The numbers of an image.
    pub(crate) fn numbers(&self) -> usize {
        self.channels * self.size[0] * self.size[1]
    }

    /// The memory that [`Preprocess::write`] takes for an image of this width and height, in bytes: an upper bound. 0 for an image
    /// that it refuses.
    pub(crate) fn resizing_bytes(&self, [width, height]: [usize; 2]) -> usize {
        let Some([rows, columns]) = self.resized([height, width]) else {
            return 0;
        };
        // Rows and columns are resized one after the other, so that there is an image between both.
        let between = rows.max(height).saturating_mul(columns.max(width));
        let pixels = between.saturating_add(rows.saturating_mul(columns));
        pixels.saturating_mul(self.channels)
    }

    /// The height and the width of a resized image of this height and width; `None` if there would be too many pixels.
    fn resized(&self, [height, width]: [usize; 2]) -> Option<[usize; 2]> {
        let size = match self.resizing {
            Resizing::None | Resizing::Never => return Some([height, width]),
            Resizing::To(size) => size,
            Resizing::Shorter(edge) => {
                let longer = |long: usize, short: usize| edge.saturating_mul(long) / short.max(1);
                match width <= height {
                    true => [longer(height, width), edge],
                    false => [edge, longer(width, height)],
                }
            }
        };
        let pixels = size[0].saturating_mul(size[1]);
        (pixels as u64 <= PIXELS_MAX).then_some(size)
    }

    /// Writes the numbers of an image, `[channels, height, width]`.
    ///
    /// # Errors
    /// Why the image cannot be resized, or is not as the network takes it.
    pub(crate) fn write(&self, image: Image<'_>, to: &mut [f32]) -> Result<(), String> {
        let image = image.with_channels(self.channels);
        let (height, width) = (image.height, image.width);
        if self.resizing == Resizing::Never && [height, width] != self.size {
            let [rows, columns] = self.size;
            return Err(format!(
                "the image has {width} x {height} pixels, the model takes {columns} x {rows} and does not resize"
            ));
        }
        let Some([rows, columns]) = self.resized([height, width]) else {
            return Err(format!(
                "an image of {width} x {height} pixels is too long; it would be resized to more than {} megapixels",
                PIXELS_MAX / 1_000_000
            ));
        };
        let resized = resize(image, columns, rows, self.filter);
        self.write_middle(&resized, to);
        Ok(())
    }

    fn write_middle(&self, image: &Image<'_>, to: &mut [f32]) {
        let ([height, width], channels) = (self.size, self.channels);
        let top = self.rounding.start(image.height, height);
        let left = self.rounding.start(image.width, width);
        let first_line = top.max(0) as usize;
        let first_row = (-top).max(0) as usize;
        let lines = image.pixels.chunks_exact(image.width * channels);
        for (channel, plane) in to.chunks_exact_mut(height * width).enumerate() {
            let levels = &self.levels[channel];
            // Around a smaller image is black.
            plane.fill(levels[0]);
            let rows = plane.chunks_exact_mut(width).skip(first_row);
            for (row, line) in rows.zip(lines.clone().skip(first_line)) {
                let values = line[channel..].iter().step_by(channels);
                let values = values.skip(left.max(0) as usize);
                let row = row.iter_mut().skip((-left).max(0) as usize);
                row.zip(values)
                    .for_each(|(to, level)| *to = levels[usize::from(*level)]);
            }
        }
    }
}

impl Rounding {
    /// The first pixel of the middle; below 0 if the image is smaller.
    fn start(self, from: usize, to: usize) -> i64 {
        let space = from as i64 - to as i64;
        match self {
            Self::Down => space.div_euclid(2),
            Self::Even if space > 0 && space % 4 == 3 => space / 2 + 1,
            Self::Even => space / 2,
        }
    }
}

/// The edge before its middle is cut out.
pub(super) fn scaled(config: &Config, edge: usize, share: f64) -> Result<usize> {
    let scaled = (edge as f64 / share).floor();
    match share > 0.0 && share <= 1.0 && scaled <= 2.0 * EDGE_MAX as f64 {
        true => Ok(scaled as usize),
        false => Err(config.error("crop_pct", format!("is {share}; expected a part of 1"))),
    }
}

/// Standard deviations, which are not 0.
pub(super) fn deviations(config: &Config, name: &str, channels: usize) -> Result<Option<Vec<f64>>> {
    let deviations = config.numbers(name, channels)?;
    match deviations
        .iter()
        .flatten()
        .any(|number| *number as f32 == 0.0)
    {
        true => Err(config.error(name, "has a 0, by which numbers would be divided")),
        false => Ok(deviations),
    }
}

/// The number of each level.
pub(super) fn table(number: impl Fn(usize) -> f32) -> [f32; LEVELS] {
    std::array::from_fn(number)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    /// The numbers of an image are its levels.
    fn preprocess(resizing: Resizing, size: [usize; 2]) -> Preprocess {
        Preprocess {
            resizing,
            filter: Filter::Bilinear,
            rounding: Rounding::Down,
            size,
            channels: 1,
            levels: vec![table(|level| level as f32)],
        }
    }

    /// An image in grey whose levels are counted from 1.
    fn image(width: usize, height: usize) -> Image<'static> {
        let pixels: Vec<u8> = (1..=width * height).map(|level| level as u8).collect();
        Image {
            height,
            width,
            channels: 1,
            pixels: Cow::Owned(pixels),
        }
    }

    #[test]
    fn the_middle_is_cut_out_and_a_smaller_image_is_black_around() {
        let cut = preprocess(Resizing::None, [3, 2]);
        let mut numbers = [-1.0; 6];
        cut.write(image(5, 2), &mut numbers).unwrap();
        assert_eq!(numbers, [0.0, 0.0, 2.0, 3.0, 7.0, 8.0]);
        cut.write(image(2, 4), &mut numbers).unwrap();
        assert_eq!(numbers, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        // Where the space is odd: `center_crop` of transformers, and `CenterCrop` of torchvision.
        for (from, to, down, even) in [(5, 2, 1, 2), (7, 2, 2, 2), (3, 2, 0, 0), (2, 5, -2, -1)] {
            assert_eq!(Rounding::Down.start(from, to), down);
            assert_eq!(Rounding::Even.start(from, to), even);
        }
    }

    #[test]
    fn an_image_that_would_be_too_long_or_has_another_size_is_refused() {
        let never = preprocess(Resizing::Never, [2, 2]);
        let error = never.write(image(3, 2), &mut [0.0; 4]).unwrap_err();
        assert!(error.contains("3 x 2 pixels, the model takes 2 x 2"));
        let long = Image {
            height: 1,
            width: 1 << 20,
            channels: 1,
            pixels: Cow::Owned(vec![0; 1 << 20]),
        };
        let shorter = preprocess(Resizing::Shorter(224), [224, 224]);
        let error = shorter.write(long, &mut vec![0.0; shorter.numbers()]);
        let error = error.unwrap_err();
        assert!(error.contains("1048576 x 1 pixels is too long"), "{error}");
        assert_eq!(shorter.resizing_bytes([1 << 20, 1]), 0);
        assert!(shorter.resizing_bytes([4, 2]) >= 448 * 224);
    }
}
