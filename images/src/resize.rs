//! Resizes images as Pillow 13 does, to the same levels: with a filter that grows with the factor by which an image shrinks,
//! in fixed-point arithmetic, one dimension after the other.

use std::borrow::Cow;
use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use crate::pixels::Image;

/// The bits of a weight behind the point. A sum of 8 bits times weights needs two more bits and its sign.
const PRECISION: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION - 1);
/// The windows of a row that are in memory at once: an image may have 100 million pixels in one row.
const WINDOWS_MAX: usize = 4_096;

/// How the pixels around a place make a new pixel. Except for `Nearest`, a new pixel is a weighted mean; the weights depend on
/// the distance, in pixels of the smaller image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    /// The nearest pixel as it is.
    Nearest,
    /// The same weight up to the distance 1/2.
    Box,
    /// Weights that fall linearly to 0 at the distance 1.
    #[default]
    Bilinear,
    /// Weights that fall to 0 at the distance 1 by the window of Hamming.
    Hamming,
    /// Cubic weights up to the distance 2, in part below 0.
    Bicubic,
    /// The window of Lanczos up to the distance 3, in part below 0.
    Lanczos,
}

impl Filter {
    /// The filters by name.
    pub const ALL: [(&'static str, Self); 6] = [
        ("nearest", Self::Nearest),
        ("box", Self::Box),
        ("bilinear", Self::Bilinear),
        ("hamming", Self::Hamming),
        ("bicubic", Self::Bicubic),
        ("lanczos", Self::Lanczos),
    ];

    /// The weights; `None` for `Nearest`.
    fn kernel(self) -> Option<Kernel> {
        let (support, weight): (f64, fn(f64) -> f64) = match self {
            Self::Nearest => return None,
            Self::Box => (0.5, of_box),
            Self::Bilinear => (1.0, of_bilinear),
            Self::Hamming => (1.0, of_hamming),
            Self::Bicubic => (2.0, of_bicubic),
            Self::Lanczos => (3.0, of_lanczos),
        };
        Some(Kernel { support, weight })
    }
}

impl FromStr for Filter {
    type Err = String;

    /// The filter with this name.
    ///
    /// # Errors
    /// If no filter has the name; the text names the filters.
    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, filter)| filter).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name);
            format!("no filter \"{name}\"; it has {}", names.join(", "))
        })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.into_iter().find(|(_, filter)| filter == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// The weights of pixels by their distance.
#[derive(Clone, Copy)]
struct Kernel {
    support: f64,
    weight: fn(f64) -> f64,
}

fn of_box(distance: f64) -> f64 {
    match distance > -0.5 && distance <= 0.5 {
        true => 1.0,
        false => 0.0,
    }
}

fn of_bilinear(distance: f64) -> f64 {
    (1.0 - distance.abs()).max(0.0)
}

fn of_hamming(distance: f64) -> f64 {
    let x = distance.abs();
    if x >= 1.0 {
        return 0.0;
    }
    // Pillow writes these factors with the precision of f32, so their sum is not exactly 1.
    let window = f64::from(0.54_f32) + f64::from(0.46_f32) * (x * PI).cos();
    if x == 0.0 { 1.0 } else { sinc(x) * window }
}

fn of_bicubic(distance: f64) -> f64 {
    const A: f64 = -0.5;
    let x = distance.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn of_lanczos(distance: f64) -> f64 {
    match (-3.0..3.0).contains(&distance) {
        true => sinc(distance) * sinc(distance / 3.0),
        false => 0.0,
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    x.sin() / x
}

/// The image with this width and height, each at least 1.
pub fn resize(image: Image<'_>, width: usize, height: usize, filter: Filter) -> Image<'_> {
    if (image.width, image.height) == (width, height) {
        return image;
    }
    match filter.kernel() {
        None => nearest(&image, width, height),
        // A transparent pixel must not colour its neighbours.
        Some(kernel) if image.channels == 4 => {
            divided_by_alpha(blended(times_alpha(image), width, height, kernel))
        }
        Some(kernel) => blended(image, width, height, kernel),
    }
}

fn nearest(image: &Image<'_>, width: usize, height: usize) -> Image<'static> {
    let channels = image.channels;
    let columns = nearest_places(image.width, width);
    let mut pixels = Vec::with_capacity(width * height * channels);
    for y in nearest_places(image.height, height) {
        let row = &image.pixels[y * image.width * channels..];
        for x in &columns {
            pixels.extend_from_slice(&row[x * channels..][..channels]);
        }
    }
    Image {
        height,
        width,
        channels,
        pixels: Cow::Owned(pixels),
    }
}

/// The places are summed up, not multiplied, so that they are rounded as in Pillow.
fn nearest_places(from: usize, to: usize) -> Vec<usize> {
    let step = from as f64 / to as f64;
    let mut at = step * 0.5;
    let mut places = Vec::with_capacity(to);
    for _ in 0..to {
        places.push((at as usize).min(from - 1));
        at += step;
    }
    places
}

fn blended(image: Image<'_>, width: usize, height: usize, kernel: Kernel) -> Image<'_> {
    let rows_less = image.height as i64 - height as i64;
    let columns_less = image.width as i64 - width as i64;
    // The order changes the levels, so it is Pillow's.
    let are_rows_first = rows_less > 0 && rows_less > 2 * columns_less;
    match are_rows_first {
        true => with_width(with_height(image, height, kernel), width, kernel),
        false => with_height(with_width(image, width, kernel), height, kernel),
    }
}

fn with_width(image: Image<'_>, width: usize, kernel: Kernel) -> Image<'_> {
    if image.width == width {
        return image;
    }
    let mut windows = windows(image.width, width, kernel);
    let channels = image.channels;
    let mut pixels = vec![0; width * image.height * channels];
    for first in (0..width).step_by(WINDOWS_MAX) {
        let windows: Vec<Window> = windows.by_ref().take(WINDOWS_MAX).collect();
        let rows = image.pixels.chunks_exact(image.width * channels);
        for (row, blended) in rows.zip(pixels.chunks_exact_mut(width * channels)) {
            let blended = &mut blended[first * channels..];
            match channels {
                1 => blend_row::<1>(row, &windows, blended),
                3 => blend_row::<3>(row, &windows, blended),
                _ => blend_row::<4>(row, &windows, blended),
            }
        }
    }
    Image {
        width,
        pixels: Cow::Owned(pixels),
        ..image
    }
}

/// Blends a pixel for each window.
fn blend_row<const CHANNELS: usize>(row: &[u8], windows: &[Window], blended: &mut [u8]) {
    for (window, blended) in windows.iter().zip(blended.chunks_exact_mut(CHANNELS)) {
        let mut sums = [HALF; CHANNELS];
        let pixels = row[window.first * CHANNELS..].chunks_exact(CHANNELS);
        for (pixel, weight) in pixels.zip(&window.weights) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(*value) * weight;
            }
        }
        blended.copy_from_slice(&sums.map(level));
    }
}

fn with_height(image: Image<'_>, height: usize, kernel: Kernel) -> Image<'_> {
    if image.height == height {
        return image;
    }
    let row_length = image.width * image.channels;
    let mut sums = vec![HALF; row_length];
    let mut pixels = Vec::with_capacity(row_length * height);
    for window in windows(image.height, height, kernel) {
        sums.fill(HALF);
        let rows = image.pixels.chunks_exact(row_length).skip(window.first);
        for (row, weight) in rows.zip(&window.weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * weight;
            }
        }
        pixels.extend(sums.iter().map(|sum| level(*sum)));
    }
    Image {
        height,
        pixels: Cow::Owned(pixels),
        ..image
    }
}

fn level(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// The pixels of one dimension that make a new pixel.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

fn windows(from: usize, to: usize, kernel: Kernel) -> impl Iterator<Item = Window> {
    let scale = from as f64 / to as f64;
    let filter_scale = scale.max(1.0);
    let support = kernel.support * filter_scale;
    let step = 1.0 / filter_scale;
    let window = move |place: usize| {
        let centre = (place as f64 + 0.5) * scale;
        // Converted to whole numbers as in C: towards 0.
        let first = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let distances = (first..end).map(|at| (at as f64 - centre + 0.5) * step);
        let weights = distances.map(kernel.weight);
        let total: f64 = weights.clone().sum();
        let divisor = if total == 0.0 { 1.0 } else { total };
        let weights = weights.map(|weight| fixed(weight / divisor));
        Window {
            first,
            weights: weights.collect(),
        }
    };
    (0..to).map(window)
}

fn fixed(weight: f64) -> i32 {
    let half = if weight < 0.0 { -0.5 } else { 0.5 };
    (half + weight * f64::from(1 << PRECISION)) as i32
}

/// Each colour times its alpha, as far as 8 bits have it.
fn times_alpha(image: Image<'_>) -> Image<'static> {
    with_colours(image, |colour, alpha| {
        let product = u32::from(colour) * u32::from(alpha) + 128;
        (((product >> 8) + product) >> 8) as u8
    })
}

fn divided_by_alpha(image: Image<'_>) -> Image<'static> {
    with_colours(image, |colour, alpha| match alpha {
        0 | u8::MAX => colour,
        alpha => (u32::from(colour) * 255 / u32::from(alpha)).min(255) as u8,
    })
}

fn with_colours(image: Image<'_>, change: impl Fn(u8, u8) -> u8) -> Image<'static> {
    let mut pixels = image.pixels.into_owned();
    for pixel in pixels.chunks_exact_mut(4) {
        let (colours, alpha) = pixel.split_at_mut(3);
        for colour in colours {
            *colour = change(*colour, alpha[0]);
        }
    }
    Image {
        height: image.height,
        width: image.width,
        channels: image.channels,
        pixels: Cow::Owned(pixels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The image with which Pillow 13.0.0 gave the levels below.
    fn image(width: usize, height: usize, channels: usize) -> Image<'static> {
        let mut pixels = Vec::new();
        for y in 0..height {
            for x in 0..width {
                for channel in 0..channels {
                    pixels.push((37 * y * y + 91 * x + 53 * channel + 13 * x * y) as u8);
                }
            }
        }
        Image {
            height,
            width,
            channels,
            pixels: Cow::Owned(pixels),
        }
    }

    fn check(image: Image<'_>, (width, height): (usize, usize), name: &str, expected: &[u8]) {
        let resized = resize(image, width, height, name.parse().unwrap());
        assert_eq!((resized.width, resized.height), (width, height));
        assert_eq!(&resized.pixels[..], expected, "{name}, {width} x {height}");
    }

    #[test]
    #[rustfmt::skip]
    fn a_smaller_image_is_that_of_pillow() {
        for (name, smaller, wider) in [
            ("nearest", [141, 93, 45, 207, 211, 215], [37, 141, 141, 245, 93, 197, 45, 45, 149, 77, 207, 207, 81, 211, 85, 215, 215, 89]),
            ("box", [71, 146, 122, 147, 147, 126], [62, 80, 80, 184, 118, 136, 155, 155, 88, 79, 215, 215, 96, 232, 113, 121, 121, 130]),
            ("bilinear", [102, 137, 125, 127, 164, 129], [52, 83, 139, 172, 108, 134, 142, 126, 94, 92, 140, 139, 134, 226, 137, 133, 138, 116]),
            ("hamming", [92, 132, 120, 134, 169, 132], [43, 92, 139, 196, 93, 147, 137, 124, 97, 90, 163, 149, 107, 230, 115, 134, 144, 116]),
            ("bicubic", [96, 142, 123, 128, 166, 130], [49, 71, 143, 184, 101, 133, 150, 129, 88, 93, 149, 137, 124, 236, 133, 127, 141, 118]),
            ("lanczos", [93, 145, 121, 128, 168, 130], [51, 60, 151, 184, 99, 125, 163, 129, 84, 93, 154, 131, 127, 241, 140, 116, 143, 120]),
        ] {
            check(image(7, 5, 1), (3, 2), name, &smaller);
            check(image(7, 5, 1), (9, 2), name, &wider);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_larger_image_in_colour_is_that_of_pillow() {
        check(image(3, 2, 3), (4, 4), "bilinear", &[
            0, 53, 106, 57, 110, 163, 125, 178, 135, 182, 235, 32, 9, 62, 115, 68, 121, 174, 139, 168, 149, 198, 187, 48,
            28, 81, 134, 91, 144, 197, 166, 147, 176, 229, 90, 79, 37, 90, 143, 102, 155, 208, 180, 137, 190, 245, 42, 95,
        ]);
    }

    #[test]
    #[rustfmt::skip]
    fn colours_count_by_their_alpha() {
        for (name, expected) in [
            ("nearest", [37, 90, 143, 196, 245, 42, 95, 148, 77, 130, 183, 236, 81, 134, 187, 240]),
            ("bilinear", [47, 99, 153, 156, 155, 124, 130, 121, 82, 104, 156, 142, 102, 96, 150, 132]),
            ("lanczos", [33, 99, 157, 159, 172, 133, 128, 115, 85, 102, 154, 137, 100, 84, 145, 130]),
        ] {
            check(image(3, 4, 4), (2, 2), name, &expected);
        }
    }

    #[test]
    fn a_long_row_is_resized_in_parts() {
        // Each pixel becomes two.
        let long = image(3 * WINDOWS_MAX, 2, 3);
        let resized = resize(long.clone(), 6 * WINDOWS_MAX, 2, "box".parse().unwrap());
        let columns = nearest(&long, 6 * WINDOWS_MAX, 2);
        assert_eq!(resized, columns);
    }

    #[test]
    fn an_image_of_the_right_size_stays_as_it_is() {
        for (name, filter) in Filter::ALL {
            let resized = resize(image(4, 3, 3), 4, 3, filter);
            assert_eq!(resized, image(4, 3, 3), "{name}");
            assert_eq!(filter.to_string(), name);
        }
    }
}
