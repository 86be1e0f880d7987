//! [`ImageReader`]: images of any size as pixels of one shape.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use vatic_images::{Filter, Image, PIXELS_MAX, crop, resize};

use super::options::{ImageOptions, ImageResize};
use crate::{Error, Result};

/// The most pixel values of an input: an image of 3 x 2364 x 2364.
const NUMBERS_MAX: usize = 1 << 24;

/// Reads images of any size as pixels of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageReader {
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// The rows of pixels.
    pub height: usize,
    /// The pixels of a row.
    pub width: usize,
    /// What becomes of an image whose sides have another ratio.
    pub resize: ImageResize,
    /// The filter of all resizing.
    #[serde(with = "super::options::filter_name")]
    pub filter: Filter,
}

impl ImageReader {
    /// A reader for inputs of the shape `[channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another shape, with the remedy.
    pub fn new(shape: &[usize], options: &ImageOptions) -> Result<Self> {
        let [channels, height, width] = *shape else {
            let found = match shape {
                [] => String::new(),
                shape => format!(", found {shape:?}"),
            };
            return Err(Error::Invalid(format!(
                "images need input_shape = [channels, height, width], such as [3, 224, 224]{found}"
            )));
        };
        if !matches!(channels, 1 | 3) {
            let last = match width {
                1 | 3 => format!("; write [{width}, {channels}, {height}]"),
                _ => String::new(),
            };
            return Err(Error::Invalid(format!(
                "input_shape = {shape:?} has {channels} channels; images have 1 (grey) or 3 (RGB), which is the first size{last}"
            )));
        }
        let reader = Self {
            channels,
            height,
            width,
            resize: options.resize,
            filter: options.filter,
        };
        let numbers = height.checked_mul(width);
        let numbers = numbers.and_then(|pixels| pixels.checked_mul(channels));
        match numbers {
            Some(1..=NUMBERS_MAX) => Ok(reader),
            _ => Err(Error::Invalid(format!(
                "input_shape = {shape:?} has not from 1 to {NUMBERS_MAX} numbers, as inputs of images have"
            ))),
        }
    }

    /// Refuses a shape that [`ImageReader::new`] does not make.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the shape.
    pub(crate) fn check(&self) -> Result<()> {
        Self::new(&self.shape(), &ImageOptions::default()).map(|_| ())
    }

    /// The shape of an input: channels, height, width.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// The number of pixel values of an input.
    pub fn numbers(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The width and the height of an image of this width and height after it is resized as a whole.
    fn resized(&self, [width, height]: [usize; 2]) -> [usize; 2] {
        let wanted = [self.width, self.height];
        match self.resize {
            ImageResize::Stretch => wanted,
            ImageResize::Crop => covering([width, height], wanted),
            ImageResize::Pad => within([width, height], wanted),
        }
    }

    /// The memory that resizing takes at once, in bytes: the image between both dimensions, and after them. 0 for an image
    /// that is refused.
    pub(super) fn resizing_bytes(&self, size: [usize; 2]) -> usize {
        if size.contains(&0) {
            return 0;
        }
        let [width, height] = self.resized(size);
        let values = width.saturating_mul(height).saturating_mul(self.channels);
        match is_small([width, height]) {
            true => values.saturating_mul(2),
            false => 0,
        }
    }

    /// Appends the pixels of an image in this shape, channels first.
    pub(super) fn append(&self, image: Image<'_>, pixels: &mut Vec<u8>) -> Result<(), String> {
        let image = self.fitted(image.with_channels(self.channels))?;
        pixels.reserve(self.numbers());
        for channel in 0..self.channels {
            let values = image.pixels.iter().skip(channel).step_by(self.channels);
            pixels.extend(values);
        }
        Ok(())
    }

    fn fitted<'a>(&self, image: Image<'a>) -> Result<Image<'a>, String> {
        let [width, height] = self.resized([image.width, image.height]);
        if !is_small([width, height]) {
            return Err(format!(
                "an image of {} x {} pixels is too long: it would take {width} x {height} pixels to cover the input; set \
                 image_resize = 'stretch' or 'pad'",
                image.width, image.height
            ));
        }
        let image = resize(image, width, height, self.filter);
        match self.resize {
            ImageResize::Stretch => Ok(image),
            ImageResize::Pad => Ok(self.padded(image)),
            ImageResize::Crop => {
                let corner = [centred(width, self.width), centred(height, self.height)];
                let part = crop(&image, corner, [self.width, self.height]);
                part.ok_or_else(|| "an image does not cover the input".to_owned())
            }
        }
    }

    /// The image in the middle of a black one.
    fn padded<'a>(&self, image: Image<'a>) -> Image<'a> {
        if (image.width, image.height) == (self.width, self.height) {
            return image;
        }
        let mut pixels = vec![0; self.numbers()];
        let (left, top) = (
            centred(self.width, image.width),
            centred(self.height, image.height),
        );
        let rows = image.pixels.chunks_exact(image.width * self.channels);
        let places = pixels.chunks_exact_mut(self.width * self.channels);
        for (place, row) in places.skip(top).zip(rows) {
            place[left * self.channels..][..row.len()].copy_from_slice(row);
        }
        Image {
            height: self.height,
            width: self.width,
            channels: self.channels,
            pixels: Cow::Owned(pixels),
        }
    }
}

/// The least size of the same ratio that covers another, rounded down.
fn covering([width, height]: [usize; 2], [to_width, to_height]: [usize; 2]) -> [usize; 2] {
    let (across, down) = (width * to_height, height * to_width);
    match across >= down {
        true => [across / height.max(1), to_height],
        false => [to_width, down / width.max(1)],
    }
}

/// The largest size of the same ratio within another, rounded, and at least 1 x 1.
fn within([width, height]: [usize; 2], [to_width, to_height]: [usize; 2]) -> [usize; 2] {
    let rounded = |size: f64| (size.round_ties_even() as usize).max(1);
    let (across, down) = (width as f64, height as f64);
    // Divided first, as in Pillow, so that the same sizes are rounded up.
    match width * to_height > height * to_width {
        true => [
            to_width,
            rounded(down / across * to_width as f64).min(to_height),
        ],
        false => [
            rounded(across / down * to_height as f64).min(to_width),
            to_height,
        ],
    }
}

/// Half of the difference of two sizes, to an even number if it has a half.
fn centred(outer: usize, inner: usize) -> usize {
    let room = outer.saturating_sub(inner);
    (room as f64 / 2.0).round_ties_even() as usize
}

/// Whether an image of this size may be made.
fn is_small([width, height]: [usize; 2]) -> bool {
    width as u128 * height as u128 <= u128::from(PIXELS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The image with which Pillow 13.0.0 gave the levels below.
    fn image(width: usize, height: usize, channels: usize) -> Image<'static> {
        let mut pixels = Vec::new();
        for y in 0..height {
            for x in 0..width {
                for channel in 0..channels {
                    pixels.push((37 * y * y + 91 * x + 53 * channel + 13 * x * y) as u8);
                }
            }
        }
        Image {
            height,
            width,
            channels,
            pixels: Cow::Owned(pixels),
        }
    }

    fn reader(shape: [usize; 3], resize: ImageResize, filter: Filter) -> ImageReader {
        let options = ImageOptions {
            resize,
            filter,
            ..ImageOptions::default()
        };
        ImageReader::new(&shape, &options).unwrap()
    }

    fn read(reader: &ImageReader, image: Image<'_>) -> Vec<u8> {
        let mut pixels = vec![];
        reader.append(image, &mut pixels).unwrap();
        pixels
    }

    /// `resize` and `crop` in the sizes that torchvision computes, `ImageOps.pad`, and `resize`.
    #[test]
    #[rustfmt::skip]
    fn images_fit_as_in_pillow() {
        for (from, [height, width], crop, pad, stretch) in [
            (
                [7, 5], [3, 3],
                vec![66, 145, 116, 98, 147, 155, 139, 160, 148],
                vec![102, 137, 125, 127, 164, 129, 0, 0, 0],
                vec![99, 118, 118, 104, 161, 138, 142, 166, 119],
            ),
            (
                [5, 9], [3, 4],
                vec![111, 119, 170, 125, 118, 164, 182, 140, 118, 145, 129, 87],
                vec![0, 108, 141, 0, 0, 135, 147, 0, 0, 115, 127, 0],
                vec![72, 135, 148, 135, 116, 147, 165, 125, 78, 147, 113, 143],
            ),
            (
                [2, 3], [4, 4],
                vec![9, 33, 80, 104, 28, 53, 103, 129, 65, 76, 97, 108, 120, 101, 62, 42],
                vec![0, 46, 91, 0, 23, 73, 122, 0, 79, 85, 92, 0, 148, 79, 9, 0],
                vec![0, 23, 68, 91, 23, 48, 97, 122, 79, 82, 88, 92, 148, 113, 44, 9],
            ),
        ] {
            let modes = [(ImageResize::Crop, crop), (ImageResize::Pad, pad), (ImageResize::Stretch, stretch)];
            for (resize, expected) in modes {
                let reader = reader([1, height, width], resize, Filter::Bilinear);
                assert_eq!(read(&reader, image(from[0], from[1], 1)), expected, "{from:?}, {resize:?}");
            }
        }
    }

    /// `transpose(2, 0, 1)` of the pixels, and `convert('L')` before the image is resized.
    #[test]
    fn channels_come_first() {
        let colours = reader([3, 2, 3], ImageResize::Crop, Filter::Bicubic);
        assert_eq!(
            read(&colours, image(7, 5, 3)),
            [
                96, 142, 123, 128, 166, 130, 127, 137, 149, 94, 93, 110, 165, 131, 146, 149, 149,
                131
            ]
        );
        let grey = reader([1, 2, 2], ImageResize::Crop, Filter::Bilinear);
        assert_eq!(read(&grey, image(7, 5, 3)), [128, 139, 115, 120]);
    }

    #[test]
    fn an_image_that_would_grow_without_limit_is_refused() {
        let long = || Image {
            height: 1,
            width: 1 << 20,
            channels: 1,
            pixels: Cow::Owned(vec![7; 1 << 20]),
        };
        let crop = reader([1, 224, 224], ImageResize::Crop, Filter::Bilinear);
        let error = crop.append(long(), &mut vec![]).unwrap_err();
        assert!(error.contains("1048576 x 1 pixels is too long"), "{error}");
        assert_eq!(crop.resizing_bytes([1 << 20, 1]), 0);
        for resize in [ImageResize::Pad, ImageResize::Stretch] {
            let reader = reader([1, 4, 8], resize, Filter::Bilinear);
            assert_eq!(read(&reader, long()).len(), 32);
        }
    }

    #[test]
    fn another_shape_gets_the_remedy() {
        let error = |shape: &[usize]| {
            let found = ImageReader::new(shape, &ImageOptions::default());
            found.unwrap_err().to_string()
        };
        assert!(error(&[]).ends_with("such as [3, 224, 224]"));
        assert!(error(&[64]).ends_with("found [64]"));
        assert!(error(&[224, 200, 3]).ends_with("write [3, 224, 200]"));
        assert!(error(&[4, 8, 8]).contains("has 4 channels"));
        assert!(error(&[3, 4096, 4096]).contains("from 1 to 16777216 numbers"));
    }
}
