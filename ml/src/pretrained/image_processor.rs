//! The way of images to a model of Hugging Face: `preprocessor_config.json`, or `processor_config.json` of a model that has other
//! inputs, too.

use serde_json::Value;
use vatic_images::Filter;

use super::config::{Config, EDGE_MAX};
use super::preprocess::{
    CROP_SHARE, LEVELS, Preprocess, Resizing, Rounding, deviations, scaled, table,
};
use crate::artifact::{Files, corrupt};
use crate::{Error, Result};

/// The files that describe images, the first that is there counts; with the section in it, if it is one of several.
const FILES: [(&str, Option<&str>); 2] = [
    ("preprocessor_config.json", None),
    ("processor_config.json", Some("image_processor")),
];
const BYTES_MAX: u64 = 1 << 20;
/// From this size on, ConvNeXt does not cut.
const CONVNEXT_WHOLE: usize = 384;

/// What the name of an image processor of Hugging Face says.
struct Processor {
    name: &'static str,
    /// Whether one number is both edges, and not the shorter one.
    is_square: bool,
    crops: bool,
}

const fn processor(name: &'static str, is_square: bool, crops: bool) -> Processor {
    Processor {
        name,
        is_square,
        crops,
    }
}

const CONVNEXT: &str = "ConvNext";
const EFFICIENTNET: &str = "EfficientNet";
const PROCESSORS: [Processor; 9] = [
    processor("ViT", true, false),
    processor("DeiT", true, true),
    processor("Bit", false, true),
    processor("CLIP", false, true),
    processor("Siglip", true, false),
    processor("MobileNetV1", false, true),
    processor("MobileNetV2", false, true),
    processor(CONVNEXT, false, false),
    processor(EFFICIENTNET, true, false),
];
const ENDINGS: [&str; 4] = [
    "ImageProcessor",
    "ImageProcessorFast",
    "ImageProcessorPil",
    "FeatureExtractor",
];

/// The way of a model of Hugging Face with this number of channels. Without resizing, images have the `size` of the model.
///
/// # Errors
/// [`Error::Corrupt`] if a file is missing or a value is wrong; [`Error::Unsupported`] for an unknown image processor.
pub(super) fn of_hugging_face(
    files: &Files,
    channels: usize,
    size: [usize; 2],
) -> Result<Preprocess> {
    let found = FILES.iter().find(|(name, _)| files.has(name));
    let (name, section) = found.ok_or_else(|| {
        let what = "the directory has no such file, which says how an image becomes numbers";
        corrupt(FILES[0].0, what)
    })?;
    let config = Config::parse(name, &files.read(name, BYTES_MAX)?)?;
    let config = match section {
        None => config,
        Some(section) => {
            let found = config.section(section)?;
            found.ok_or_else(|| config.error(section, "is missing"))?
        }
    };
    of_processor(&config, channels, size)
}

fn of_processor(config: &Config, channels: usize, size: [usize; 2]) -> Result<Preprocess> {
    let processor = processor_of(config)?;
    config.require_flag("do_pad", false)?;
    let mut resizing = Resizing::None;
    let mut crop = None;
    let resizes = config.flag("do_resize", true)?;
    if resizes {
        resizing = resizing_of(config, processor)?;
    }
    match (processor.name, resizing) {
        (CONVNEXT, Resizing::Shorter(edge)) => {
            config.require_flag("do_center_crop", false)?;
            let is_cut = edge < CONVNEXT_WHOLE;
            let scaled = scaled(config, edge, config.number("crop_pct", CROP_SHARE)?)?;
            crop = is_cut.then_some([edge; 2]);
            resizing = match is_cut {
                true => Resizing::Shorter(scaled),
                false => Resizing::To([edge; 2]),
            };
        }
        (CONVNEXT, Resizing::To(_)) => {
            return Err(config.error("size", "has no shortest_edge"));
        }
        _ if config.flag("do_center_crop", processor.crops)? => {
            crop = Some(edges(config, "crop_size")?);
        }
        _ => {}
    }
    let size = match (crop, resizing) {
        (Some(crop), _) => crop,
        (None, Resizing::To(size)) => size,
        (None, Resizing::None | Resizing::Never) => {
            resizing = Resizing::Never;
            size
        }
        (None, Resizing::Shorter(_)) => {
            let what = "is false, so that images would have different sizes";
            return Err(config.error("do_center_crop", what));
        }
    };
    Ok(Preprocess {
        resizing,
        filter: match resizes {
            true => filter_of(config)?,
            false => Filter::default(),
        },
        rounding: Rounding::Down,
        size,
        channels,
        levels: levels_of(config, processor, channels)?,
    })
}

fn processor_of(config: &Config) -> Result<&'static Processor> {
    let name = match config.text("image_processor_type")? {
        Some(name) => Some(name),
        None => config.text("feature_extractor_type")?,
    };
    // Descriptions without a name are those of the first image processors.
    let name = name.unwrap_or("ViTFeatureExtractor");
    let mut known = PROCESSORS.iter();
    let found = known.find(|known| {
        let ending = name.strip_prefix(known.name);
        ending.is_some_and(|ending| ENDINGS.contains(&ending))
    });
    found.ok_or_else(|| {
        let known = PROCESSORS.map(|processor| format!("{}ImageProcessor", processor.name));
        Error::Unsupported(format!(
            "{}: the image processor {name} is not supported; this build knows {}",
            config.file(),
            known.join(", ")
        ))
    })
}

fn resizing_of(config: &Config, processor: &Processor) -> Result<Resizing> {
    let is_one = config.get("size").is_some_and(Value::is_number);
    if is_one && !processor.is_square {
        return Ok(Resizing::Shorter(edge(config, "size")?));
    }
    let section = config.get("size").filter(|size| size.is_object());
    if section.is_some_and(|size| size.get("shortest_edge").is_some()) {
        let size = config.section_or_empty("size")?;
        if size.get("longest_edge").is_some() {
            return Err(size.unsupported("longest_edge", "is not supported"));
        }
        return Ok(Resizing::Shorter(edge(&size, "shortest_edge")?));
    }
    Ok(Resizing::To(edges(config, "size")?))
}

fn edge(config: &Config, name: &str) -> Result<usize> {
    config.whole(name, None, 1..=EDGE_MAX)
}

/// A height and a width: one number for both, or an object with both.
fn edges(config: &Config, name: &str) -> Result<[usize; 2]> {
    match config.get(name).is_some_and(Value::is_object) {
        true => {
            let size = config.section_or_empty(name)?;
            Ok([edge(&size, "height")?, edge(&size, "width")?])
        }
        false => Ok([edge(config, name)?; 2]),
    }
}

/// The filter by its number in Pillow.
fn filter_of(config: &Config) -> Result<Filter> {
    let number = config.whole("resample", None, 0..=5)?;
    Ok(match number {
        0 => Filter::Nearest,
        1 => Filter::Lanczos,
        2 => Filter::Bilinear,
        3 => Filter::Bicubic,
        4 => Filter::Box,
        _ => Filter::Hamming,
    })
}

/// The number of each level, for each channel, in the types in which Hugging Face computes it.
fn levels_of(
    config: &Config,
    processor: &Processor,
    channels: usize,
) -> Result<Vec<[f32; LEVELS]>> {
    let factor = match config.flag("do_rescale", true)? {
        true => config.number("rescale_factor", 1.0 / 255.0)?,
        false => 1.0,
    };
    let is_efficientnet = processor.name == EFFICIENTNET;
    let has_offset = is_efficientnet && config.flag("rescale_offset", false)?;
    let offset = if has_offset { 1.0f32 } else { 0.0 };
    let divides_twice = is_efficientnet && config.flag("include_top", true)?;
    let normalises = config.flag("do_normalize", true)?;
    let needed = |name: &str, numbers: Option<Vec<f64>>| {
        numbers.ok_or_else(|| config.error(name, "is missing"))
    };
    let (mut mean, mut deviation) = (vec![0.0; channels], vec![1.0; channels]);
    if normalises {
        mean = needed("image_mean", config.numbers("image_mean", channels)?)?;
    }
    if normalises || divides_twice {
        deviation = needed("image_std", deviations(config, "image_std", channels)?)?;
    }
    let of_channels = mean.into_iter().zip(deviation);
    let levels = of_channels.map(|(mean, deviation)| {
        let (mean, deviation) = (mean as f32, deviation as f32);
        table(|level| {
            let mut number = (level as f64 * factor) as f32 - offset;
            if normalises {
                number = (number - mean) / deviation;
            }
            match divides_twice {
                true => number / deviation,
                false => number,
            }
        })
    });
    Ok(levels.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &str) -> Result<Preprocess> {
        let config = Config::parse("preprocessor_config.json", text.as_bytes()).unwrap();
        of_processor(&config, 1, [2, 2])
    }

    #[test]
    fn levels_become_numbers() {
        let plain = r#"{"do_resize": false, "image_mean": 0.5, "image_std": [0.25]}"#;
        let levels = described(plain).unwrap().levels;
        assert!((levels[0][1] - (1.0 / 255.0 - 0.5) / 0.25).abs() < 1e-6);
        let twice = r#"{"image_processor_type": "EfficientNetImageProcessor", "do_resize": false, "rescale_factor": 0.01,
            "rescale_offset": true, "image_mean": [0.5], "image_std": [0.25]}"#;
        let levels = described(twice).unwrap().levels;
        assert!((levels[0][4] - (0.04 - 1.0 - 0.5) / 0.25 / 0.25).abs() < 1e-5);
    }

    #[test]
    fn sizes_of_each_image_processor() {
        for (text, resizing, size) in [
            (
                r#""ViTFeatureExtractor", "size": 8"#,
                Resizing::To([8, 8]),
                [8, 8],
            ),
            (
                r#""ViTImageProcessorFast", "size": {"height": 8, "width": 4}"#,
                Resizing::To([8, 4]),
                [8, 4],
            ),
            (
                r#""CLIPImageProcessor", "size": 8, "crop_size": 6"#,
                Resizing::Shorter(8),
                [6, 6],
            ),
            (
                r#""ConvNextImageProcessor", "size": {"shortest_edge": 224}"#,
                Resizing::Shorter(256),
                [224, 224],
            ),
            (
                r#""ConvNextFeatureExtractor", "size": 384"#,
                Resizing::To([384, 384]),
                [384, 384],
            ),
        ] {
            let text = format!(
                r#"{{"image_processor_type": {text}, "resample": 3, "image_mean": 0, "image_std": 1}}"#
            );
            let found = described(&text).unwrap();
            assert_eq!((found.resizing, found.size()), (resizing, size), "{text}");
            assert_eq!(found.filter, Filter::Bicubic);
        }
        let as_it_is = described(r#"{"do_resize": false, "do_normalize": false}"#).unwrap();
        assert_eq!(
            (as_it_is.resizing, as_it_is.size()),
            (Resizing::Never, [2, 2])
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            (
                r#"{"image_processor_type": "SamImageProcessor"}"#,
                "SamImageProcessor is not supported; this build knows ViT",
            ),
            (
                r#"{"size": {"height": 2, "width": 2}}"#,
                "resample is missing",
            ),
            (r#"{"size": 2, "resample": 2}"#, "image_mean is missing"),
            (
                r#"{"size": 1000000, "resample": 2}"#,
                "size is 1000000; expected a whole number from 1 to 8192",
            ),
            (
                r#"{"do_resize": false, "image_mean": 0, "image_std": 0}"#,
                "image_std has a 0",
            ),
            (
                r#"{"size": {"shortest_edge": 8}, "resample": 2}"#,
                "do_center_crop is false",
            ),
            (
                r#"{"size": {"shortest_edge": 8, "longest_edge": 9}}"#,
                "size.longest_edge is not supported",
            ),
            (r#"{"do_pad": true}"#, "do_pad is true"),
        ] {
            let error = described(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
