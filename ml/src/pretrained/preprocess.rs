//! [`Preprocess`]: the numbers that a network takes for an image, as the files beside its weights describe them.
//!
//! ```text
//! image ─ resize ─ cut out of the middle ─ (level × factor − mean) ÷ deviation ─▶ [channels, height, width]
//! ```
//! Hugging Face has the description in `preprocessor_config.json` (or `processor_config.json`), timm in `pretrained_cfg`.
//! Images are resized as Pillow does it, with which both were written; their newer versions may differ by a level.

use serde_json::Value;
use vatic_images::{Filter, Image, PIXELS_MAX, resize};

use super::config::{Config, EDGE_MAX};
use crate::artifact::{Files, corrupt};
use crate::{Error, Result};

/// The files that describe images, the first that is there counts; with the section in it, if it is one of several.
const FILES: [(&str, Option<&str>); 2] = [
    ("preprocessor_config.json", None),
    ("processor_config.json", Some("image_processor")),
];
const BYTES_MAX: u64 = 1 << 20;
const LEVELS: usize = 256;
/// From this size on, ConvNeXt does not cut.
const CONVNEXT_WHOLE: usize = 384;
/// The part of the shorter edge that is kept, if the files do not say it.
const CROP_SHARE: f64 = 0.875;

/// The way from an image to numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Preprocess {
    resizing: Resizing,
    filter: Filter,
    rounding: Rounding,
    /// The height and the width of what is cut out of the middle: the input of the network.
    size: [usize; 2],
    channels: usize,
    /// The number of each level, for each channel.
    levels: Vec<[f32; LEVELS]>,
}

/// How an image is resized.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Resizing {
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
enum Rounding {
    /// Further up and left.
    Down,
    /// Half of the space, rounded to an even number; further up and left around a smaller image.
    Even,
}

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

impl Preprocess {
    /// The way of a model of Hugging Face with this number of channels. Without resizing, images have the `size` of the model.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a file is missing or a value is wrong; [`Error::Unsupported`] for an unknown image processor.
    pub(crate) fn of_hugging_face(
        files: &Files,
        channels: usize,
        size: [usize; 2],
    ) -> Result<Self> {
        let is_there = |name: &str| files.known().iter().any(|file| file.name == name);
        let found = FILES.iter().find(|(name, _)| is_there(name));
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
        Self::of_processor(&config, channels, size)
    }

    fn of_processor(config: &Config, channels: usize, size: [usize; 2]) -> Result<Self> {
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
        Ok(Self {
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

    /// The way of a model of timm: its `pretrained_cfg`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a value is missing or wrong; [`Error::Unsupported`] for a way of cropping that this build does not
    /// know.
    pub(crate) fn of_timm(config: &Config) -> Result<Self> {
        let field = "pretrained_cfg";
        let described = config.section(field)?;
        let config = described.ok_or_else(|| config.error(field, "is missing"))?;
        let (channels, size) = match *config.wholes("input_size", &[], 1..=EDGE_MAX)? {
            [channels @ (1 | 3), height, width] => (channels, [height, width]),
            _ => {
                let what = "is not [channels, height, width] with 1 or 3 channels";
                return Err(config.error("input_size", what));
            }
        };
        let share = config.number("crop_pct", CROP_SHARE)?;
        let scaled = |edge| scaled(&config, edge, share);
        let to = [scaled(size[0])?, scaled(size[1])?];
        let resizing = match config.text("crop_mode")?.unwrap_or("center") {
            "center" if to[0] == to[1] => Resizing::Shorter(to[0]),
            "squash" => Resizing::To(to),
            other => {
                return Err(Error::Unsupported(format!(
                    "{}: crop_mode \"{other}\" of images of {} x {} is not supported; center of a square and squash are",
                    config.file(),
                    size[0],
                    size[1]
                )));
            }
        };
        let name = config.text("interpolation")?.unwrap_or("bilinear");
        let filter = name.parse::<Filter>();
        let filter = filter.map_err(|_| {
            let what = format!("is \"{name}\"; expected nearest, bilinear, bicubic or lanczos");
            config.error("interpolation", what)
        })?;
        let mean = config.numbers("mean", channels)?;
        let mean = mean.unwrap_or_else(|| IMAGENET.map(|(mean, _)| mean)[..channels].to_vec());
        let deviation = deviations(&config, "std", channels)?;
        let deviation =
            deviation.unwrap_or_else(|| IMAGENET.map(|(_, std)| std)[..channels].to_vec());
        let of_channels = mean.into_iter().zip(deviation);
        let levels = of_channels.map(|(mean, deviation)| {
            table(|level| (level as f32 / 255.0 - mean as f32) / deviation as f32)
        });
        Ok(Self {
            resizing,
            filter,
            rounding: Rounding::Even,
            size,
            channels,
            levels: levels.collect(),
        })
    }

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
        let mut image = image.with_channels(self.channels);
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
        image = resize(image, columns, rows, self.filter);
        self.write_middle(&image, to);
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

/// The means and deviations of ImageNet by channel, which timm assumes.
const IMAGENET: [(f64, f64); 3] = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];

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
            return Err(size.error("longest_edge", "is not supported"));
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

/// The edge before its middle is cut out.
fn scaled(config: &Config, edge: usize, share: f64) -> Result<usize> {
    let scaled = (edge as f64 / share).floor();
    match share > 0.0 && share <= 1.0 && scaled <= 2.0 * EDGE_MAX as f64 {
        true => Ok(scaled as usize),
        false => Err(config.error("crop_pct", format!("is {share}; expected a part of 1"))),
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

/// Standard deviations, which are not 0.
fn deviations(config: &Config, name: &str, channels: usize) -> Result<Option<Vec<f64>>> {
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

fn table(number: impl Fn(usize) -> f32) -> [f32; LEVELS] {
    std::array::from_fn(number)
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
    use std::borrow::Cow;

    use super::*;

    fn processor(text: &str) -> Result<Preprocess> {
        let config = Config::parse("preprocessor_config.json", text.as_bytes()).unwrap();
        Preprocess::of_processor(&config, 1, [2, 2])
    }

    fn timm(text: &str) -> Result<Preprocess> {
        let config = format!(r#"{{"pretrained_cfg": {text}}}"#);
        Preprocess::of_timm(&Config::parse("config.json", config.as_bytes()).unwrap())
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

    fn levels(preprocess: &Preprocess, image: Image<'_>) -> Vec<f32> {
        let mut numbers = vec![-1.0; preprocess.numbers()];
        preprocess.write(image, &mut numbers).unwrap();
        numbers
    }

    const CUT: &str = r#"{"do_resize": false, "do_center_crop": true, "crop_size": {"height": 3, "width": 2},
        "do_rescale": false, "do_normalize": false}"#;

    #[test]
    fn the_middle_is_cut_out_and_a_smaller_image_is_black_around() {
        let of_processor = processor(CUT).unwrap();
        assert_eq!(
            levels(&of_processor, image(5, 2)),
            [0.0, 0.0, 2.0, 3.0, 7.0, 8.0]
        );
        assert_eq!(
            levels(&of_processor, image(2, 4)),
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        );
        // Where the space is odd: `CenterCrop` of torchvision and `center_crop` of transformers.
        for (from, to, down, even) in [(5, 2, 1, 2), (7, 2, 2, 2), (3, 2, 0, 0), (2, 5, -2, -1)] {
            assert_eq!(Rounding::Down.start(from, to), down);
            assert_eq!(Rounding::Even.start(from, to), even);
        }
    }

    #[test]
    fn levels_become_numbers() {
        let plain = r#"{"do_resize": false, "image_mean": 0.5, "image_std": [0.25]}"#;
        let numbers = levels(&processor(plain).unwrap(), image(2, 2));
        assert!((numbers[0] - (1.0 / 255.0 - 0.5) / 0.25).abs() < 1e-6);
        let twice = r#"{"image_processor_type": "EfficientNetImageProcessor", "do_resize": false, "rescale_factor": 0.01,
            "rescale_offset": true, "image_mean": [0.5], "image_std": [0.25]}"#;
        let numbers = levels(&processor(twice).unwrap(), image(2, 2));
        assert!((numbers[3] - (0.04 - 1.0 - 0.5) / 0.25 / 0.25).abs() < 1e-5);
        let of_timm =
            timm(r#"{"input_size": [1, 2, 2], "crop_pct": 1, "mean": [0.5], "std": [0.25]}"#);
        let numbers = levels(&of_timm.unwrap(), image(2, 2));
        assert!((numbers[0] - (1.0 / 255.0 - 0.5) / 0.25).abs() < 1e-6);
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
            let found = processor(&text).unwrap();
            assert_eq!((found.resizing, found.size()), (resizing, size), "{text}");
            assert_eq!(found.filter, Filter::Bicubic);
        }
        let found = timm(r#"{"input_size": [3, 9, 9], "crop_pct": 0.95, "crop_mode": "squash"}"#);
        assert_eq!(found.unwrap().resizing, Resizing::To([9, 9]));
        let found = timm(r#"{"input_size": [3, 224, 224]}"#).unwrap();
        assert_eq!(
            (found.resizing, found.channels()),
            (Resizing::Shorter(256), 3)
        );
    }

    #[test]
    fn a_long_image_is_refused_and_another_size_where_nothing_is_resized() {
        let plain = r#"{"do_resize": false, "do_normalize": false}"#;
        let error = processor(plain).unwrap().write(image(3, 2), &mut [0.0; 4]);
        assert!(
            error
                .unwrap_err()
                .contains("3 x 2 pixels, the model takes 2 x 2")
        );
        let long = Image {
            height: 1,
            width: 1 << 20,
            channels: 1,
            pixels: Cow::Owned(vec![0; 1 << 20]),
        };
        let found = timm(r#"{"input_size": [1, 224, 224], "mean": 0, "std": 1}"#).unwrap();
        let error = found.write(long, &mut vec![0.0; found.numbers()]);
        assert!(
            error
                .unwrap_err()
                .contains("1048576 x 1 pixels is too long")
        );
        assert_eq!(found.resizing_bytes([1 << 20, 1]), 0);
        // From 4 x 2 to 448 x 224, with 4 x 224 or 448 x 2 between.
        assert!(found.resizing_bytes([4, 2]) >= 448 * 224);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (result, expected) in [
            (
                processor(r#"{"image_processor_type": "SamImageProcessor"}"#),
                "SamImageProcessor is not supported; this build knows ViT",
            ),
            (
                processor(r#"{"size": {"height": 2, "width": 2}}"#),
                "resample is missing",
            ),
            (
                processor(r#"{"size": 2, "resample": 2}"#),
                "image_mean is missing",
            ),
            (
                processor(r#"{"size": 1000000, "resample": 2}"#),
                "size is 1000000; expected a whole number from 1 to 8192",
            ),
            (
                processor(r#"{"do_resize": false, "image_mean": 0, "image_std": 0}"#),
                "image_std has a 0",
            ),
            (
                processor(r#"{"size": {"shortest_edge": 8}, "resample": 2}"#),
                "do_center_crop is false",
            ),
            (timm("{}"), "pretrained_cfg.input_size is not"),
            (
                timm(r#"{"input_size": [3, 8, 8], "crop_mode": "border"}"#),
                "crop_mode \"border\"",
            ),
            (
                timm(r#"{"input_size": [3, 8, 8], "crop_pct": 0}"#),
                "crop_pct is 0",
            ),
            (
                timm(r#"{"input_size": [3, 8, 8], "interpolation": "cubic"}"#),
                "interpolation is \"cubic\"",
            ),
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
