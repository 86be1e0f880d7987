//! [`ImageEncoder`]: a column of images as a tensor of pixels in u8, and that tensor as standardised floats.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::column::Images;
use super::reader::ImageReader;
use crate::data::encode::standardise::Standardiser;
use crate::data::inputs::Inputs;
use crate::device::HOST;
use crate::{Error, Result, stop};

/// Pixels in u8, `[rows, channels, height, width]`.
pub const PIXELS: &str = "pixels";

/// The most levels of a pixel value above 0.
const LEVEL_MAX: f64 = 255.0;

/// How a column of images becomes a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageEncoder {
    /// How an image becomes pixels of the shape of the input.
    pub reader: ImageReader,
    /// For each channel, the standardisation of its levels, which are divided by 255 before.
    pub channels: Vec<Standardiser>,
}

/// Encoded images.
pub(crate) struct EncodedImages {
    /// `[rows, channels, height, width]` (u8); the mean of each channel for a row without an image.
    pub(crate) pixels: Tensor,
    /// Which rows have an image.
    pub(crate) valid: Option<NullBuffer>,
    /// Rows that hold no image, with the cause; these rows are not valid.
    pub(crate) failures: Vec<(usize, String)>,
}

impl ImageEncoder {
    /// Whether the reader and the statistics are possible.
    pub(crate) fn is_usable(&self) -> bool {
        let is_usable = |channel: &Standardiser| {
            channel.mean.is_finite() && channel.std.is_finite() && channel.std > 0.0
        };
        self.reader.check().is_ok()
            && self.channels.len() == self.reader.channels
            && self.channels.iter().all(is_usable)
    }

    /// Encodes a column of images, or of the pixels that a training holds.
    ///
    /// # Errors
    /// [`Error::Type`] for a column of another type; [`Error::Cancelled`].
    pub(crate) fn encode(&self, name: &str, array: &ArrayRef) -> Result<EncodedImages> {
        let rows = array.len();
        let numbers = self.reader.numbers();
        let mut pixels = Vec::with_capacity(rows * numbers);
        let mut failures = vec![];
        let valid = match array.data_type() {
            DataType::FixedSizeBinary(size) if *size as usize == numbers => {
                let held = array.as_fixed_size_binary();
                pixels.extend_from_slice(&held.value_data()[..rows * numbers]);
                held.nulls().cloned()
            }
            _ => {
                let images = Images::of(array)?;
                let mut valid = Vec::with_capacity(rows);
                for row in 0..rows {
                    stop::check()?;
                    let read = images.read(row, &self.reader, &mut pixels);
                    valid.push(read.as_ref().is_ok_and(|is_there| *is_there));
                    if let Err(cause) = read {
                        pixels.resize((row + 1) * numbers, 0);
                        failures.push((row, format!("column \"{name}\" holds no image: {cause}")));
                    }
                }
                let valid = NullBuffer::from(valid);
                (valid.null_count() > 0).then_some(valid)
            }
        };
        let missing = |row: &usize| valid.as_ref().is_some_and(|valid| valid.is_null(*row));
        for row in (0..rows).filter(missing) {
            self.fill(&mut pixels[row * numbers..][..numbers]);
        }
        let [channels, height, width] = self.reader.shape();
        Ok(EncodedImages {
            pixels: Tensor::from_vec(pixels, (rows, channels, height, width), &HOST)?,
            valid,
            failures,
        })
    }

    /// The most memory that a row takes while it is decoded, in bytes; 0 for a column that holds no images.
    pub(crate) fn decoding_bytes(&self, array: &ArrayRef) -> usize {
        let Ok(images) = Images::of(array) else {
            return 0;
        };
        let rows = (0..array.len()).map(|row| images.reading_bytes(row, &self.reader));
        rows.max().unwrap_or(0)
    }

    /// Makes an image of the mean of each channel.
    fn fill(&self, pixels: &mut [u8]) {
        let channels = pixels.chunks_exact_mut(self.reader.height * self.reader.width);
        for (channel, Standardiser { mean, .. }) in channels.zip(&self.channels) {
            channel.fill((mean * LEVEL_MAX).round() as u8);
        }
    }

    /// The pixels among the inputs, on their device, standardised: `[rows, channels, height, width]` of this type.
    ///
    /// # Errors
    /// [`Error::Internal`] for inputs without pixels.
    pub(crate) fn standardised(&self, inputs: &Inputs, dtype: DType) -> Result<Tensor> {
        let pixels = inputs
            .get(PIXELS)
            .ok_or_else(|| Error::Internal("rows without pixels".into()))?;
        let of_channels = |numbers: Vec<f64>| -> Result<Tensor> {
            let numbers: Vec<f32> = numbers.into_iter().map(|number| number as f32).collect();
            let shape = (1, numbers.len(), 1, 1);
            Ok(Tensor::from_vec(numbers, shape, pixels.device())?)
        };
        let (scale, shift) = (of_channels(self.scales())?, of_channels(self.shifts())?);
        // In single precision also for a model of 16 bits, whose levels would be rounded twice.
        let levels = pixels.to_dtype(DType::F32)?;
        let standardised = levels.broadcast_mul(&scale)?.broadcast_add(&shift)?;
        Ok(standardised.to_dtype(dtype)?)
    }

    /// The factor of a level, for each channel.
    pub(crate) fn scales(&self) -> Vec<f64> {
        let scale = |channel: &Standardiser| 1.0 / (LEVEL_MAX * channel.std);
        self.channels.iter().map(scale).collect()
    }

    /// What is added to a scaled level, for each channel.
    pub(crate) fn shifts(&self) -> Vec<f64> {
        let shift = |channel: &Standardiser| -channel.mean / channel.std;
        self.channels.iter().map(shift).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BinaryArray, FixedSizeBinaryArray};
    use arrow::buffer::Buffer;

    use super::super::options::ImageOptions;
    use super::*;

    fn encoder() -> ImageEncoder {
        ImageEncoder {
            reader: ImageReader::new(&[3, 1, 2], &ImageOptions::default()).unwrap(),
            channels: [0.1, 0.2, 0.4]
                .map(|mean| Standardiser { mean, std: 0.5 })
                .to_vec(),
        }
    }

    fn levels(images: &EncodedImages) -> Vec<u8> {
        images.pixels.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn pixels_of_a_training_stay_as_they_are_and_null_is_the_mean() {
        let pixels = Buffer::from_vec((0u8..12).collect::<Vec<_>>());
        let valid = NullBuffer::from(vec![true, false]);
        let array = FixedSizeBinaryArray::new(6, pixels, Some(valid));
        let array: ArrayRef = Arc::new(array);
        let images = encoder().encode("x", &array).unwrap();
        assert_eq!(images.pixels.dims(), [2, 3, 1, 2]);
        assert_eq!(levels(&images)[..6], [0, 1, 2, 3, 4, 5]);
        assert_eq!(levels(&images)[6..], [26, 26, 51, 51, 102, 102]);
        let second = encoder().encode("x", &array.slice(1, 1)).unwrap();
        assert_eq!(levels(&second), levels(&images)[6..]);
        assert_eq!(images.valid.unwrap().null_count(), 1);
    }

    #[test]
    fn a_file_that_is_no_image_is_a_failure_of_its_row() {
        let array: ArrayRef = Arc::new(BinaryArray::from_iter([None, Some(b"text")]));
        let images = encoder().encode("photo", &array).unwrap();
        assert_eq!(images.valid.as_ref().unwrap().null_count(), 2);
        let (row, cause) = &images.failures[0];
        assert_eq!((*row, images.failures.len()), (1, 1));
        assert!(cause.starts_with("column \"photo\" holds no image: the 4 bytes"));
        assert_eq!(levels(&images).len(), 12);
    }

    /// As numpy: `(levels / 255 - mean) / std`.
    #[test]
    fn channels_are_standardised_each() {
        let pixels =
            Tensor::from_vec(vec![0u8, 255, 51, 102, 204, 1], (1, 3, 1, 2), &HOST).unwrap();
        let inputs = Inputs::new(1).with(PIXELS, pixels).unwrap();
        let found = encoder().standardised(&inputs, DType::F32).unwrap();
        let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
        let expected = [-0.2, 1.8, 0.0, 0.4, 0.8, -0.792_156_9];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found}, {expected}");
        }
        let error = encoder().standardised(&Inputs::new(1), DType::F32);
        assert!(error.unwrap_err().to_string().contains("without pixels"));
    }
}
