//! [`Image`]: the pixels of one image.

use std::borrow::Cow;

/// The largest image in pixels.
pub(super) const PIXELS_MAX: u64 = 100_000_000;

/// An image: rows from top to bottom, pixels from left to right, the channels of a pixel side by side. It has a pixel, and as
/// many values as its sizes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image<'a> {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) pixels: Cow<'a, [u8]>,
}

/// The channels that an image may have: grey, RGB or RGBA.
pub(super) const CHANNELS: [usize; 3] = [1, 3, 4];
