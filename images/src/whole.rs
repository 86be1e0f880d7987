//! Whether a file is whole. The decoders of JPEG and WebP may fill what a truncated file lacks instead of failing; those of
//! PNG and GIF fail. A JPEG also tells its channels here, which its decoder hides if it converts them.

use image::ImageFormat;

/// Whether a file has its end, as far as its decoder would not notice.
pub(crate) fn is_whole(bytes: &[u8], format: ImageFormat) -> bool {
    match format {
        ImageFormat::Jpeg => Jpeg::read(bytes).has_end,
        ImageFormat::WebP => webp_has_end(bytes),
        _ => true,
    }
}

/// Whether a file is as long as its header says. Some programs leave out the last byte, which makes the length even.
fn webp_has_end(bytes: &[u8]) -> bool {
    let length = bytes.get(4..8).and_then(|length| length.try_into().ok());
    let length = length.map(u32::from_le_bytes);
    length.is_some_and(|length| bytes.len() as u64 + 1 >= u64::from(length) + 8)
}

/// What the segments of a JPEG say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Jpeg {
    /// The number of channels in the file.
    pub(crate) channels: Option<u8>,
    has_end: bool,
}

impl Jpeg {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let (mut channels, mut has_end) = (None, false);
        let mut at = 0;
        while let Some(rest) = bytes.get(at..) {
            match *rest {
                // In a scan, zero follows each 0xFF that is no marker. The end is looked for from behind: a thumbnail
                // before the scan has an end of its own.
                [0xFF, 0xDA, ..] => {
                    has_end = rest.windows(2).rev().any(|pair| pair == [0xFF, 0xD9]);
                    break;
                }
                [0xFF, 0xFF, ..] => at += 1,
                [0xFF, 0x01 | 0xD0..=0xD9, ..] => at += 2,
                [0xFF, marker, high, low, ..] => {
                    if is_frame(marker) {
                        channels = rest.get(9).copied();
                    }
                    at += 2 + usize::from(u16::from_be_bytes([high, low]));
                }
                [_, ..] => at += 1,
                [] => break,
            }
        }
        Self { channels, has_end }
    }
}

/// Whether a segment describes the image; three of the numbers between have other meanings.
fn is_frame(marker: u8) -> bool {
    (0xC0..=0xCF).contains(&marker) && ![0xC4, 0xC8, 0xCC].contains(&marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG without pixels: a thumbnail with an end of its own, a frame of three channels, and a scan.
    const JPEG: &[u8] = &[
        0xFF, 0xD8, 0xFF, 0xE1, 0, 4, 0xFF, 0xD9, 0xFF, 0xC0, 0, 17, 8, 0, 1, 0, 1, 3, 1, 0x11, 0,
        2, 0x11, 0, 3, 0x11, 0, 0xFF, 0xDA, 0, 2, 7, 0xFF, 0, 7, 0xFF, 0xD9,
    ];

    #[test]
    fn only_the_whole_file_is_whole() {
        assert!(is_whole(JPEG, ImageFormat::Jpeg));
        for length in 0..JPEG.len() {
            assert!(!is_whole(&JPEG[..length], ImageFormat::Jpeg), "{length}");
        }
        assert_eq!(Jpeg::read(JPEG).channels, Some(3));
        assert_eq!(Jpeg::read(&JPEG[..12]).channels, None);
    }

    #[test]
    fn a_webp_says_its_length() {
        let webp = b"RIFF\x04\0\0\0WEBP";
        assert!(is_whole(webp, ImageFormat::WebP));
        assert!(is_whole(&webp[..11], ImageFormat::WebP));
        assert!(!is_whole(&webp[..10], ImageFormat::WebP));
        assert!(!is_whole(&webp[..6], ImageFormat::WebP));
    }
}
