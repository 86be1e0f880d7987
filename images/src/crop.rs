//! A part of an image.

use std::borrow::Cow;

use crate::pixels::Image;

/// The part of an image whose upper left corner is `x` pixels from the left and `y` from the top; `None` if the part is not
/// within the image, or has no pixel.
pub fn crop(
    image: &Image<'_>,
    [x, y]: [usize; 2],
    [width, height]: [usize; 2],
) -> Option<Image<'static>> {
    let is_within = x.checked_add(width)? <= image.width && y.checked_add(height)? <= image.height;
    if !is_within || width == 0 || height == 0 {
        return None;
    }
    let channels = image.channels;
    let rows = image.pixels.chunks_exact(image.width * channels);
    let mut pixels = Vec::with_capacity(width * height * channels);
    for row in rows.skip(y).take(height) {
        pixels.extend_from_slice(&row[x * channels..(x + width) * channels]);
    }
    Some(Image {
        height,
        width,
        channels,
        pixels: Cow::Owned(pixels),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_within_the_image() {
        let image = Image {
            height: 2,
            width: 3,
            channels: 1,
            pixels: Cow::Borrowed(&[1, 2, 3, 4, 5, 6]),
        };
        let part = crop(&image, [1, 0], [2, 2]).unwrap();
        assert_eq!(&part.pixels[..], [2, 3, 5, 6]);
        assert_eq!((part.width, part.height), (2, 2));
        for (corner, sizes) in [
            ([2, 0], [2, 2]),
            ([0, 1], [1, 2]),
            ([usize::MAX, 0], [2, 1]),
            ([0, 0], [0, 1]),
        ] {
            assert_eq!(crop(&image, corner, sizes), None);
        }
    }
}
