//! [`ImageOptions`]: how images become inputs, as far as users choose it.

use serde::{Deserialize, Serialize};
use vatic_images::Filter;

use crate::named::named_enum;
use crate::{Error, Result};

named_enum! {
    /// What becomes of an image whose sides have another ratio than those of the input.
    ImageResize {
        /// It is resized to cover the input, and what is beyond the input is cut off, the same on both sides: the shorter
        /// side fits, as in torchvision's `Resize` and `CenterCrop`.
        Crop = "crop",
        /// It is resized to fit into the input, and black fills the rest, the same on both sides, as in Pillow's
        /// `ImageOps.pad`.
        Pad = "pad",
        /// Both sides are resized to those of the input.
        Stretch = "stretch",
    }
}

/// How images become inputs, as far as users choose it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageOptions {
    /// What becomes of an image whose sides have another ratio.
    pub resize: ImageResize,
    /// The filter of all resizing.
    #[serde(with = "filter_name")]
    pub filter: Filter,
    /// The mean of each channel, or of all, of levels from 0 to 1; that of the training rows if empty.
    pub mean: Vec<f64>,
    /// The standard deviation of each channel, or of all; that of the training rows if empty.
    pub std: Vec<f64>,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self {
            resize: ImageResize::Crop,
            filter: Filter::Bilinear,
            mean: vec![],
            std: vec![],
        }
    }
}

impl ImageOptions {
    /// Whether nothing is chosen.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The chosen statistics of each of so many channels.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of them.
    pub(crate) fn statistics(&self, channels: usize) -> Result<Vec<ChosenStatistics>> {
        let of_channel = |name: &str, numbers: &[f64], channel: usize| match numbers {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            numbers if numbers.len() == channels => Ok(Some(numbers[channel])),
            numbers => Err(Error::Invalid(format!(
                "{name} has {} numbers; images of this input_shape have {channels}: write as many, or one for all",
                numbers.len()
            ))),
        };
        let chosen = (0..channels).map(|channel| {
            Ok(ChosenStatistics {
                mean: of_channel("image_mean", &self.mean, channel)?,
                std: of_channel("image_std", &self.std, channel)?,
            })
        });
        chosen.collect()
    }
}

/// The statistics of a channel that a user chose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ChosenStatistics {
    pub(crate) mean: Option<f64>,
    pub(crate) std: Option<f64>,
}

/// The filter as its name.
pub(super) mod filter_name {
    use serde::{Deserialize, Deserializer, Serializer};
    use vatic_images::Filter;

    pub(crate) fn serialize<S: Serializer>(
        filter: &Filter,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(filter)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Filter, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_those_of_each_channel_or_of_all() {
        let options = ImageOptions {
            mean: vec![0.1, 0.2, 0.3],
            std: vec![0.5],
            ..ImageOptions::default()
        };
        let chosen = options.statistics(3).unwrap();
        assert_eq!((chosen[2].mean, chosen[2].std), (Some(0.3), Some(0.5)));
        assert_eq!(ImageOptions::default().statistics(1).unwrap()[0].std, None);
        let error = options.statistics(1).unwrap_err().to_string();
        assert_eq!(
            error,
            "image_mean has 3 numbers; images of this input_shape have 1: write as many, or one for all"
        );
    }

    #[test]
    fn options_travel_as_names() {
        let options = ImageOptions {
            filter: Filter::Lanczos,
            ..ImageOptions::default()
        };
        let text = serde_json::to_string(&options).unwrap();
        assert!(text.contains("\"crop\"") && text.contains("\"lanczos\""));
        assert_eq!(
            serde_json::from_str::<ImageOptions>(&text).unwrap(),
            options
        );
        let empty = serde_json::from_str::<ImageOptions>("{}").unwrap();
        assert!(empty.is_default());
    }
}
