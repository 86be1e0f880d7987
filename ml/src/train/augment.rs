//! [`Augmenter`]: changes the images of the rows of a step, each by a stream of its own.
//!
//! The stream of a row depends on the seed, the epoch, the shard and the row's place in the shard, so neither the number of
//! ranks nor the rows beside it change what happens to it. Images stay on the host until they are changed.

use std::ops::Range;

use candle_core::Tensor;

use crate::data::augment::{Augmentations, Levels, Planes};
use crate::data::encode::standardise::Standardiser;
use crate::data::encode::tabular::{Encoder, NUMBERS};
use crate::data::image::PIXELS;
use crate::data::inputs::Inputs;
use crate::device::HOST;
use crate::model::options::TrainOptions;
use crate::{Error, Result, random, stop};

/// The augmentations of a training, and the place of the images in its rows.
pub(crate) struct Augmenter {
    augmentations: Augmentations,
    shape: [usize; 3],
    place: Place,
    seed: u64,
}

/// Where the images are.
enum Place {
    /// They are pixels of their own.
    Pixels,
    /// They are among the standardised numbers of a row.
    Numbers {
        range: Range<usize>,
        /// The standardisation of each number of a row: a change applies to the numbers of the columns.
        standardisers: Vec<Standardiser>,
    },
}

/// The rows of a step in an epoch.
pub(crate) struct Origin<'a> {
    pub(crate) epoch: usize,
    pub(crate) shard: usize,
    /// The place of each row in the shard.
    pub(crate) rows: &'a [u32],
}

impl Augmenter {
    /// The augmenter of a training; `None` without augmentations.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the options name no augmentation, or the rows have no image.
    pub(crate) fn of(options: &TrainOptions, encoder: &Encoder) -> Result<Option<Self>> {
        let augmentations = Augmentations::read(&options.augment)?;
        if augmentations.is_empty() {
            return Ok(None);
        }
        let no_image = || {
            let what = "augment changes images, and no column holds images of input_shape; leave out augment";
            Error::Invalid(what.into())
        };
        let [channels, height, width] = *options.input_shape else {
            return Err(no_image());
        };
        let (shape, numbers) = (encoder.shape(), channels * height * width);
        let place = match (&shape.image, shape.arrays.as_slice()) {
            (Some(_), _) => Place::Pixels,
            (None, arrays) => {
                let only = arrays.first().filter(|_| arrays.len() == 1);
                let whole = 0..shape.numbers;
                let places = [Some(&whole), only];
                let mut found = places.into_iter().flatten();
                let range = found.find(|range| range.len() == numbers).cloned();
                let columns = encoder.columns().iter();
                let standardisers = columns.flat_map(|column| column.numbers.iter().copied());
                Place::Numbers {
                    range: range.ok_or_else(no_image)?,
                    standardisers: standardisers.collect(),
                }
            }
        };
        Ok(Some(Self {
            augmentations,
            shape: [channels, height, width],
            place,
            seed: options.seed,
        }))
    }

    /// The inputs of these rows, with other images.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; [`Error::Internal`] for inputs without the images.
    pub(crate) fn apply(&self, inputs: Inputs, origin: &Origin<'_>) -> Result<Inputs> {
        match &self.place {
            Place::Pixels => self.pixels(inputs, origin),
            Place::Numbers {
                range,
                standardisers,
            } => self.numbers(inputs, range, standardisers, origin),
        }
    }

    fn pixels(&self, inputs: Inputs, origin: &Origin<'_>) -> Result<Inputs> {
        let pixels = inputs.get(PIXELS).ok_or_else(missing)?;
        let shape = pixels.shape().clone();
        let mut pixels: Vec<u8> = pixels.flatten_all()?.to_vec1()?;
        for (row, pixels) in pixels.chunks_exact_mut(self.area()).enumerate() {
            let numbers = pixels.iter().copied().map(f32::from);
            let changed = self.changed(numbers.collect(), Levels::Bytes, origin, row)?;
            for (pixel, number) in pixels.iter_mut().zip(changed) {
                // Levels are clamped, so they fit after rounding.
                *pixel = number.round() as u8;
            }
        }
        Ok(inputs.replaced(PIXELS, Tensor::from_vec(pixels, shape, &HOST)?))
    }

    fn numbers(
        &self,
        inputs: Inputs,
        range: &Range<usize>,
        standardisers: &[Standardiser],
        origin: &Origin<'_>,
    ) -> Result<Inputs> {
        let all = inputs.get(NUMBERS).ok_or_else(missing)?;
        let shape = all.shape().clone();
        let mut all: Vec<f32> = all.flatten_all()?.to_vec1()?;
        let of_image = &standardisers[range.clone()];
        let stride = standardisers.len().max(1);
        for (row, numbers) in all.chunks_exact_mut(stride).enumerate() {
            let image = &mut numbers[range.clone()];
            let pairs = image.iter().zip(of_image);
            let raw = pairs.map(|(number, of)| (f64::from(*number) * of.std + of.mean) as f32);
            let changed = self.changed(raw.collect(), Levels::Numbers, origin, row)?;
            for ((number, changed), of) in image.iter_mut().zip(changed).zip(of_image) {
                *number = ((f64::from(changed) - of.mean) / of.std) as f32;
            }
        }
        Ok(inputs.replaced(NUMBERS, Tensor::from_vec(all, shape, &HOST)?))
    }

    /// The numbers of an image after the change that is drawn for its row.
    fn changed(
        &self,
        numbers: Vec<f32>,
        levels: Levels,
        origin: &Origin<'_>,
        row: usize,
    ) -> Result<Vec<f32>> {
        stop::check()?;
        let place = origin.rows.get(row).copied().unwrap_or_default();
        let counters = [origin.epoch as u64, origin.shard as u64, u64::from(place)];
        let mut stream = random::stream(self.seed, "augment", &counters);
        let [_, height, width] = self.shape;
        let change = self.augmentations.draw([height, width], &mut stream);
        let mut planes = Planes {
            numbers,
            height,
            width,
            levels,
        };
        change.apply(&mut planes);
        Ok(planes.numbers)
    }

    fn area(&self) -> usize {
        self.shape.iter().product()
    }
}

fn missing() -> Error {
    Error::Internal("rows without the images to change".into())
}
