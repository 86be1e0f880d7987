//! [`Colour`]: brightness, contrast and saturation, in this order, as in torchvision.
//!
//! ```text
//! brightness b   x ─▶ b x
//! contrast c     x ─▶ m + c (x - m), where m is the mean of the grey of all pixels
//! saturation s   x ─▶ g + s (x - g), where g is the grey of its pixel; images of three channels only
//! ```
//! The grey of three channels is 0.299 red + 0.587 green + 0.114 blue, of another number of channels their mean. Levels from 0
//! to 255 are clamped after each step.

use super::planes::{Planes, within};

/// The shares of red, green and blue in grey: ITU-R 601-2.
const GREY: [f32; 3] = [0.299, 0.587, 0.114];

/// A change of colours; 1 changes nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Colour {
    pub(super) brightness: f64,
    pub(super) contrast: f64,
    pub(super) saturation: f64,
}

impl Colour {
    pub(super) fn apply(&self, planes: &mut Planes) {
        let brightness = self.brightness as f32;
        planes.change(|number| brightness * number);
        let grey = grey(planes);
        let sum: f64 = grey.iter().copied().map(f64::from).sum();
        let mean = (sum / grey.len().max(1) as f64) as f32;
        let contrast = self.contrast as f32;
        planes.change(|number| mean + contrast * (number - mean));
        self.saturate(planes);
    }

    fn saturate(&self, planes: &mut Planes) {
        let (area, levels) = (planes.area(), planes.levels);
        if planes.numbers.len() != GREY.len() * area {
            return;
        }
        let (grey, saturation) = (grey(planes), self.saturation as f32);
        for plane in planes.numbers.chunks_exact_mut(area) {
            for (number, grey) in plane.iter_mut().zip(&grey) {
                *number = within(levels, grey + saturation * (*number - grey));
            }
        }
    }
}

/// The grey of each pixel.
fn grey(planes: &Planes) -> Vec<f32> {
    let area = planes.area();
    let channels = planes.numbers.len() / area.max(1);
    let mut grey = vec![0.0; area];
    for (channel, plane) in planes.numbers.chunks_exact(area).enumerate() {
        let share = match channels == GREY.len() {
            true => GREY[channel],
            false => 1.0 / channels as f32,
        };
        let pairs = grey.iter_mut().zip(plane);
        pairs.for_each(|(grey, number)| *grey += share * number);
    }
    grey
}

#[cfg(test)]
mod tests {
    use super::super::planes::Levels;
    use super::*;

    /// numpy gave the numbers below, from the formulas above.
    #[rustfmt::skip]
    const COLOURED: [f32; 36] = [
        7.6526, 95.0127, 202.7206, 23.9727, 43.1727, 144.9005, 255.0, 96.9326, 152.0035, 16.2927, 129.6797, 255.0,
        83.9726, 171.3326, 246.6406, 100.2926, 119.4926, 221.2205, 41.3359, 173.2526, 228.3235, 92.6126, 205.9997, 39.1289,
        160.2926, 247.6526, 0.0, 176.6127, 195.8126, 247.8605, 117.6559, 249.5726, 244.8835, 168.9326, 254.2397, 115.4489,
    ];

    fn planes(channels: usize, less: f32, levels: Levels) -> Planes {
        let mut numbers = vec![];
        for channel in 0..channels {
            for y in 0..3 {
                for x in 0..4 {
                    let level = (37 * y * y + 91 * x + 53 * channel + 13 * x * y) % 256;
                    numbers.push(level as f32 - less);
                }
            }
        }
        Planes {
            numbers,
            height: 3,
            width: 4,
            levels,
        }
    }

    fn check(mut planes: Planes, colours: [f64; 3], expected: &[f32]) {
        let [brightness, contrast, saturation] = colours;
        let colour = Colour {
            brightness,
            contrast,
            saturation,
        };
        colour.apply(&mut planes);
        assert_eq!(planes.numbers.len(), expected.len());
        for (found, expected) in planes.numbers.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-2, "{found}, {expected}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn colours_are_those_of_numpy() {
        check(planes(3, 0.0, Levels::Bytes), [1.2, 0.8, 1.5], &COLOURED);
        // Grey has no saturation.
        check(planes(1, 0.0, Levels::Bytes), [0.9, 1.3, 0.1], &[
            0.0, 76.5, 182.97, 0.0, 13.32, 135.0, 255.0, 78.84, 143.19, 0.0, 117.45, 254.34,
        ]);
        // Numbers that are no levels have no range.
        check(planes(1, 100.0, Levels::Numbers), [1.2, 1.5, 1.0], &[
            -186.6, -22.8, 141.0, -156.0, -120.0, 67.2, 254.4, -19.2, 79.8, -170.4, 40.2, 250.8,
        ]);
    }

    #[test]
    fn ones_change_nothing() {
        let before = planes(3, 0.0, Levels::Bytes);
        check(before.clone(), [1.0; 3], &before.numbers);
    }
}
