//! The way of images to a model of timm: `pretrained_cfg` in `config.json`.

use vatic_images::Filter;

use super::config::{Config, EDGE_MAX};
use super::preprocess::{CROP_SHARE, Preprocess, Resizing, Rounding, deviations, scaled, table};
use crate::{Error, Result};

/// The means and deviations of ImageNet by channel, which timm assumes.
const IMAGENET: [(f64, f64); 3] = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];

/// The way of a model of timm: its `pretrained_cfg`.
///
/// # Errors
/// [`Error::Corrupt`] if a value is missing or wrong; [`Error::Unsupported`] for a way of cropping that this build does not
/// know.
pub(super) fn of_timm(config: &Config) -> Result<Preprocess> {
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
    let deviation = deviation.unwrap_or_else(|| IMAGENET.map(|(_, std)| std)[..channels].to_vec());
    let of_channels = mean.into_iter().zip(deviation);
    let levels = of_channels.map(|(mean, deviation)| {
        table(|level| (level as f32 / 255.0 - mean as f32) / deviation as f32)
    });
    Ok(Preprocess {
        resizing,
        filter,
        rounding: Rounding::Even,
        size,
        channels,
        levels: levels.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &str) -> Result<Preprocess> {
        let config = format!(r#"{{"pretrained_cfg": {text}}}"#);
        of_timm(&Config::parse("config.json", config.as_bytes()).unwrap())
    }

    #[test]
    fn sizes_and_levels() {
        let found =
            described(r#"{"input_size": [3, 9, 9], "crop_pct": 0.95, "crop_mode": "squash"}"#);
        assert_eq!(found.unwrap().resizing, Resizing::To([9, 9]));
        let found = described(r#"{"input_size": [3, 224, 224]}"#).unwrap();
        assert_eq!(found.resizing, Resizing::Shorter(256));
        assert_eq!((found.size(), found.channels()), ([224, 224], 3));
        assert!((found.levels[1][51] - (0.2 - 0.456) / 0.224).abs() < 1e-6);
        let grey =
            described(r#"{"input_size": [1, 2, 2], "crop_pct": 1, "mean": [0.5], "std": [0.25]}"#);
        let levels = grey.unwrap().levels;
        assert!((levels[0][1] - (1.0 / 255.0 - 0.5) / 0.25).abs() < 1e-6);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("{}", "pretrained_cfg.input_size is not"),
            ("null", "pretrained_cfg is missing"),
            (
                r#"{"input_size": [3, 8, 8], "crop_mode": "border"}"#,
                "crop_mode \"border\"",
            ),
            (
                r#"{"input_size": [3, 8, 8], "crop_pct": 0}"#,
                "crop_pct is 0",
            ),
            (
                r#"{"input_size": [3, 8, 8], "interpolation": "cubic"}"#,
                "interpolation is \"cubic\"",
            ),
        ] {
            let error = described(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
