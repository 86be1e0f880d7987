//! Encoders of the columns of images: the mean and the deviation of each channel in the training rows.
//!
//! Levels are whole numbers, so the sums of a shard are exact in any order. The sums of all shards are f64, in the fixed tree.

use arrow::array::{Array, AsArray, RecordBatch};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::collective::{Collective, ShardBuffers};
use crate::data::columns::{Column, FeatureKind};
use crate::data::encode::standardise::Standardiser;
use crate::data::image::{ImageEncoder, ImageReader};
use crate::train::raw::{RawRows, RawShard};
use crate::train::spec::TrainSpec;
use crate::{Error, Result};

/// The encoder of each feature that is an image, in the order of the features.
///
/// # Errors
/// [`Error::Invalid`] for options that fit no image; the errors of the collective.
pub(crate) fn image_encoders(
    raw: &[RawShard],
    spec: &TrainSpec,
    collective: &dyn Collective,
    helpers: &ThreadPool,
) -> Result<Vec<Option<ImageEncoder>>> {
    let features = spec.columns.features.iter().enumerate();
    let encoder = |(index, column): (usize, &Column)| {
        if FeatureKind::of(&column.name, &column.data_type)? != FeatureKind::Image {
            return Ok(None);
        }
        let reader = spec.options.image_reader()?;
        let options = &spec.options.image;
        let learnt = match options.mean.is_empty() || options.std.is_empty() {
            true => learnt(raw, index, &reader, collective, helpers)?,
            false => vec![Standardiser::IDENTITY; reader.channels],
        };
        let chosen = options.statistics(reader.channels)?.into_iter();
        let channels = learnt
            .into_iter()
            .zip(chosen)
            .map(|(learnt, chosen)| Standardiser {
                mean: chosen.mean.unwrap_or(learnt.mean),
                std: chosen.std.unwrap_or(learnt.std),
            });
        let channels = channels.collect();
        Ok(Some(ImageEncoder { reader, channels }))
    };
    features.map(encoder).collect()
}

/// The sums of a channel: of its levels, and of their squares.
type Sums = (u64, u64);

/// The mean and the deviation of each channel, of levels divided by 255.
fn learnt(
    raw: &[RawShard],
    column: usize,
    reader: &ImageReader,
    collective: &dyn Collective,
    helpers: &ThreadPool,
) -> Result<Vec<Standardiser>> {
    let mut buffers: ShardBuffers<f64> = Vec::with_capacity(raw.len());
    for shard in raw {
        let (images, sums) = sums(&shard.train, column, reader, helpers)?;
        let sums = sums.iter();
        let sums = sums.flat_map(|(levels, squares)| [*levels as f64, *squares as f64]);
        buffers.push((
            shard.number,
            std::iter::once(images as f64).chain(sums).collect(),
        ));
    }
    let all = collective.all_reduce_f64(buffers)?;
    let Some((images, sums)) = all.split_first() else {
        return Err(Error::Internal(
            "statistics of images without a count".into(),
        ));
    };
    let levels = (images * (reader.height * reader.width) as f64).max(1.0);
    let channels = sums.chunks_exact(2).map(|sums| {
        let (mean, square) = (sums[0] / levels, sums[1] / levels);
        let deviation = (square - mean * mean).max(0.0).sqrt();
        // The rounding of this difference gives up to 1e-5.
        let varies = deviation > 1e-4;
        Standardiser {
            mean: mean / 255.0,
            std: if varies { deviation / 255.0 } else { 1.0 },
        }
    });
    Ok(channels.collect())
}

/// The number of images, and the sums of each channel.
fn sums(
    rows: &RawRows,
    column: usize,
    reader: &ImageReader,
    helpers: &ThreadPool,
) -> Result<(u64, Vec<Sums>)> {
    let pixels_of_channel = reader.height * reader.width;
    let of_part = |part: &RecordBatch| {
        let held = part.column(column);
        let Some(images) = held.as_fixed_size_binary_opt() else {
            // A rank without rows has a part of the type of the query.
            return match held.is_empty() {
                true => Ok((0, vec![(0, 0); reader.channels])),
                false => Err(Error::Internal("images that are not read".into())),
            };
        };
        let mut sums: Vec<Sums> = vec![(0, 0); reader.channels];
        let mut count = 0;
        for row in (0..images.len()).filter(|row| images.is_valid(*row)) {
            count += 1;
            let channels = images.value(row).chunks_exact(pixels_of_channel);
            for (sum, levels) in sums.iter_mut().zip(channels) {
                for &level in levels {
                    let level = u64::from(level);
                    sum.0 += level;
                    sum.1 += level * level;
                }
            }
        }
        Ok((count, sums))
    };
    let parts = rows.parts.par_iter().map(of_part);
    let parts = helpers.install(|| parts.collect::<Result<Vec<(u64, Vec<Sums>)>>>())?;
    let none = (0, vec![(0, 0); reader.channels]);
    Ok(parts.into_iter().fold(none, |(count, mut all), part| {
        for (sum, of_part) in all.iter_mut().zip(part.1) {
            sum.0 += of_part.0;
            sum.1 += of_part.1;
        }
        (count + part.0, all)
    }))
}
