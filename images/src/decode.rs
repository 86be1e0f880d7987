//! Files of images as pixels: JPEG, PNG, WebP, and the first frame of GIF. The crate `image` decodes them.

use std::borrow::Cow;
use std::error::Error;
use std::io::Cursor;

use image::metadata::Orientation;
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, guess_format,
};

use crate::colour::with_channels;
use crate::pixels::{Image, PIXELS_MAX};
use crate::profile::without_profiles;
use crate::whole::{Jpeg, is_whole};

/// The memory for the pixels of one file, as the file has them, and for the buffers of its decoder.
const BYTES_MAX: u64 = 400_000_000;

/// The formats, and their names in results.
const FORMATS: [(ImageFormat, &str); 4] = [
    (ImageFormat::Jpeg, "jpeg"),
    (ImageFormat::Png, "png"),
    (ImageFormat::WebP, "webp"),
    (ImageFormat::Gif, "gif"),
];

/// What the header of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The name of the format: jpeg, png, webp or gif.
    pub format: &'static str,
    /// The width before the orientation is applied.
    pub width: u32,
    /// The height before the orientation is applied.
    pub height: u32,
    /// The channels in the file; a palette counts as the colours that it stands for.
    pub channels: u8,
    /// The bits of a channel.
    pub bits: u8,
    /// How a viewer turns the image, as Exif numbers it: 1 is upright.
    pub orientation: u8,
}

impl Header {
    /// The memory that [`decode`] takes at once, in bytes: an upper bound. 0 for a file with more pixels than are decoded.
    pub fn decoding_bytes(&self, channels: usize) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        if pixels > PIXELS_MAX {
            return 0;
        }
        let of_file = u64::from(self.channels) * u64::from(self.bits).div_ceil(8);
        // The pixels as the file has them, what the decoder keeps beside them, the pixels upright, and their new channels.
        pixels * (3 * of_file + channels as u64)
    }
}

/// Reads the header of a file, and no pixels.
///
/// # Errors
/// The cause, for a message that names the function.
pub fn header(bytes: &[u8]) -> Result<Header, String> {
    let (format, name) = format(bytes)?;
    let mut decoder = decoder(bytes, format, name)?;
    let (width, height) = decoder.dimensions();
    let decoded = decoder.color_type().channel_count();
    let (channels, bits) = match format {
        ImageFormat::Jpeg => (Jpeg::read(bytes).channels.unwrap_or(decoded), 8),
        ImageFormat::Png => (decoded, png_bits(bytes)),
        _ => (decoded, 8),
    };
    Ok(Header {
        format: name,
        width,
        height,
        channels,
        bits,
        orientation: orientation(&mut decoder).to_exif(),
    })
}

/// The bits of a channel of a PNG. The numbers of a palette have fewer bits than the colours that they stand for.
fn png_bits(bytes: &[u8]) -> u8 {
    match (bytes.get(24), bytes.get(25)) {
        (Some(bits), Some(kind)) if *kind != 3 => *bits,
        _ => 8,
    }
}

/// The pixels of a file, upright, with this number of channels.
///
/// # Errors
/// The cause, for a message that names the function.
pub fn decode(bytes: &[u8], channels: usize) -> Result<Image<'static>, String> {
    let (format, name) = format(bytes)?;
    let mut decoder = decoder(bytes, format, name)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(format!("the {name} has no pixels"));
    }
    if pixels > PIXELS_MAX || decoder.total_bytes() > BYTES_MAX {
        return Err(format!(
            "the {name} has {width} x {height} pixels; at most {} megapixels and {} MB are decoded",
            PIXELS_MAX / 1_000_000,
            BYTES_MAX / 1_000_000
        ));
    }
    if !is_whole(bytes, format) {
        return Err(format!(
            "the {name} is truncated: it has {} bytes and no end",
            bytes.len()
        ));
    }
    let orientation = orientation(&mut decoder);
    let mut decoded =
        DynamicImage::from_decoder(decoder).map_err(|error| cause(bytes, name, &error))?;
    decoded.apply_orientation(orientation);
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let found = usize::from(decoded.color().channel_count());
    let pixels = with_channels(in_eight_bits(decoded), found, channels);
    Ok(Image {
        height,
        width,
        channels,
        pixels: Cow::Owned(pixels),
    })
}

fn format(bytes: &[u8]) -> Result<(ImageFormat, &'static str), String> {
    let Ok(found) = guess_format(bytes) else {
        return Err(format!(
            "the {} bytes are no JPEG, PNG, WebP or GIF",
            bytes.len()
        ));
    };
    let format = FORMATS.into_iter().find(|(format, _)| *format == found);
    format.ok_or_else(|| {
        let extension = found.extensions_str().first().unwrap_or(&"other");
        format!("the bytes are {extension}; use JPEG, PNG, WebP or GIF")
    })
}

/// The decoder of a file; it has read the header.
fn decoder<'a>(
    bytes: &'a [u8],
    format: ImageFormat,
    name: &str,
) -> Result<impl ImageDecoder + use<'a>, String> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(BYTES_MAX);
    let content = match format {
        ImageFormat::Png => without_profiles(bytes),
        _ => Cow::Borrowed(bytes),
    };
    let mut reader = ImageReader::with_format(Cursor::new(content), format);
    reader.limits(limits);
    reader
        .into_decoder()
        .map_err(|error| cause(bytes, name, &error))
}

/// The orientation of the Exif data; without readable data, the image is upright.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

/// The cause of a failure, without the words of the crate around it.
fn cause(bytes: &[u8], name: &str, error: &ImageError) -> String {
    if let ImageError::Limits(_) = error {
        let megabytes = BYTES_MAX / 1_000_000;
        return format!("the {name} needs more than {megabytes} MB");
    }
    let why = match error.source() {
        Some(inner) => inner.to_string(),
        None => error.to_string(),
    };
    let first_line = why.lines().next().unwrap_or_default();
    let length = bytes.len();
    format!("the {name} of {length} bytes cannot be decoded: {first_line}")
}

/// The values with 8 bits; of 16 bits, the upper 8 as in Pillow.
fn in_eight_bits(image: DynamicImage) -> Vec<u8> {
    let colour = image.color();
    match colour.bytes_per_pixel() / colour.channel_count() {
        1 => image.into_bytes(),
        _ => image
            .as_bytes()
            .chunks_exact(2)
            .map(|value| (u16::from_ne_bytes([value[0], value[1]]) >> 8) as u8)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    use super::*;

    fn png(image: &DynamicImage) -> Vec<u8> {
        let mut file = Cursor::new(vec![]);
        image.write_to(&mut file, ImageFormat::Png).unwrap();
        file.into_inner()
    }

    #[test]
    fn the_header_tells_the_memory_of_the_pixels() {
        let bytes = |file: &[u8], channels| header(file).unwrap().decoding_bytes(channels);
        let colours = png(&DynamicImage::new_rgb8(4, 3));
        assert_eq!(bytes(&colours, 1), 12 * (3 * 3 + 1));
        let deep = png(&DynamicImage::new_luma16(4, 3));
        assert_eq!(bytes(&deep, 3), 12 * (3 * 2 + 3));
        // A header that promises more pixels than are decoded.
        let huge = include_bytes!("../../sql-tests/data/broken_images/huge.png");
        assert_eq!(bytes(huge, 3), 0);
        assert!(decode(huge, 3).is_err());
    }

    #[test]
    fn a_profile_is_not_unpacked() {
        let mut file = vec![];
        let mut encoder = PngEncoder::new(&mut file);
        encoder.set_icc_profile(vec![7; 100]).unwrap();
        let pixels = [9; 36];
        encoder
            .write_image(&pixels, 4, 3, ExtendedColorType::Rgb8)
            .unwrap();
        assert!(file.windows(4).any(|name| name == b"iCCP"));
        let mut decoder = decoder(&file, ImageFormat::Png, "png").unwrap();
        assert_eq!(decoder.icc_profile().unwrap(), None);
        assert_eq!(*decode(&file, 3).unwrap().pixels, pixels);
    }
}
