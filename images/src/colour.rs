//! Converts the channels of pixels, as `Image.convert` of Pillow does.

use std::borrow::Cow;

use crate::pixels::Image;

impl Image<'_> {
    /// The image in grey (1), RGB (3) or RGBA (4). Alpha is left out, not blended.
    #[must_use]
    pub fn with_channels(self, channels: usize) -> Self {
        if self.channels == channels {
            return self;
        }
        let pixels = converted(&self.pixels, self.channels, channels);
        Self {
            channels,
            pixels: Cow::Owned(pixels),
            ..self
        }
    }
}

/// Pixels with other channels: from grey, grey with alpha, RGB or RGBA to grey, RGB or RGBA. Alpha is left out, not blended.
pub(crate) fn with_channels(pixels: Vec<u8>, from: usize, to: usize) -> Vec<u8> {
    match from == to {
        true => pixels,
        false => converted(&pixels, from, to),
    }
}

fn converted(pixels: &[u8], from: usize, to: usize) -> Vec<u8> {
    let mut converted = Vec::with_capacity(pixels.len() / from * to);
    for pixel in pixels.chunks_exact(from) {
        let [red, green, blue, alpha] = match *pixel {
            [grey] => [grey, grey, grey, u8::MAX],
            [grey, alpha] => [grey, grey, grey, alpha],
            [red, green, blue] => [red, green, blue, u8::MAX],
            [red, green, blue, alpha, ..] => [red, green, blue, alpha],
            [] => [0; 4],
        };
        match to {
            1 => converted.push(grey(red, green, blue)),
            3 => converted.extend([red, green, blue]),
            _ => converted.extend([red, green, blue, alpha]),
        }
    }
    converted
}

/// The brightness by ITU-R 601-2. The weights add up to 2^16, so that grey stays as it is.
fn grey(red: u8, green: u8, blue: u8) -> u8 {
    let weighted = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((weighted + (1 << 15)) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_those_of_pillow() {
        assert_eq!(with_channels(vec![10, 200, 30], 3, 1), [124]);
        assert_eq!(with_channels(vec![10, 200, 30, 0], 4, 3), [10, 200, 30]);
        assert_eq!(with_channels(vec![7, 9], 2, 3), [7, 7, 7]);
        assert_eq!(with_channels(vec![7, 9], 2, 4), [7, 7, 7, 9]);
        assert_eq!(with_channels(vec![7], 1, 4), [7, 7, 7, 255]);
        for level in 0..=u8::MAX {
            assert_eq!(with_channels(vec![level, 0], 2, 1), [level]);
        }
    }
}
