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
