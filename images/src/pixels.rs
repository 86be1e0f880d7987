//! [`Image`]: the pixels of one image.

use std::borrow::Cow;

/// The largest image in pixels.
pub const PIXELS_MAX: u64 = 100_000_000;

/// An image: rows from top to bottom, pixels from left to right, the channels of a pixel side by side. It has a pixel, and as
/// many values as its sizes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image<'a> {
    /// The number of rows.
    pub height: usize,
    /// The number of pixels of a row.
    pub width: usize,
    /// The number of values of a pixel: 1 (grey), 3 (RGB) or 4 (RGBA).
    pub channels: usize,
    /// The values.
    pub pixels: Cow<'a, [u8]>,
}

/// The channels that an image may have: grey, RGB or RGBA.
pub const CHANNELS: [usize; 3] = [1, 3, 4];

impl<'a> Image<'a> {
    /// An image of this height, width and number of channels.
    ///
    /// # Errors
    /// If there are no values, or not as many as the sizes say: the cause, for a message that names the column or function.
    pub fn try_new(
        [height, width, channels]: [usize; 3],
        pixels: Cow<'a, [u8]>,
    ) -> Result<Self, String> {
        let row = width.checked_mul(channels);
        let values = row.and_then(|row| row.checked_mul(height));
        let is_whole = !pixels.is_empty() && values == Some(pixels.len());
        if !is_whole || !CHANNELS.contains(&channels) {
            return Err(format!(
                "an image of height {height}, width {width} and {channels} channels has {} values; channels are 1, 3 or 4",
                pixels.len()
            ));
        }
        Ok(Self {
            height,
            width,
            channels,
            pixels,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_values_must_fit() {
        let image = |sizes: [usize; 3], values: usize| {
            let pixels = Cow::Owned(vec![7; values]);
            Image::try_new(sizes, pixels)
        };
        let grey = image([2, 3, 1], 6).unwrap();
        assert_eq!((grey.height, grey.width, grey.channels), (2, 3, 1));
        for (sizes, values) in [
            ([2, 3, 1], 5),
            ([2, 3, 2], 12),
            ([0, 3, 1], 0),
            ([usize::MAX, usize::MAX, 3], 3),
        ] {
            let cause = image(sizes, values).unwrap_err();
            assert!(cause.contains(&format!("has {values} values")), "{cause}");
        }
    }
}
