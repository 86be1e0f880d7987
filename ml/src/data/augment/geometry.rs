//! [`Map`]: where the pixels of a changed image come from.
//!
//! Places are distances from the centre of an image of height H and width W, to the right and down: the centre of the pixel in
//! row i and column j is at `(j - (W - 1) / 2, i - (H - 1) / 2)`. A map takes a place of the new image to one of the old image:
//!
//! ```text
//! flip                       (x, y) ─▶ (-x, y)
//! shift by (r, d) pixels     (x, y) ─▶ (x - r, y - d)
//! crop to a share s          (x, y) ─▶ (s x + r, s y + d), where (r, d) is the centre of the window
//! rotate by an angle a       (x, y) ─▶ (x cos a - y sin a, x sin a + y cos a), counter-clockwise for a above 0
//! ```
//! Maps one after the other are one map, so an image is sampled once: no blur adds up, and no pixel that one map moves out
//! of the image and the next one back is lost. Sampling is bilinear, between the four pixels around a place. A place beyond
//! the centres of the outer pixels has the value of the nearest place between them: the edge repeats.

use super::planes::Planes;

/// An affine map of places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Map {
    /// What the old x and y take of the new x and y.
    linear: [[f64; 2]; 2],
    /// What is added.
    offset: [f64; 2],
}

impl Map {
    pub(super) const IDENTITY: Self = Self {
        linear: [[1.0, 0.0], [0.0, 1.0]],
        offset: [0.0, 0.0],
    };

    pub(super) fn flip() -> Self {
        Self {
            linear: [[-1.0, 0.0], [0.0, 1.0]],
            ..Self::IDENTITY
        }
    }

    pub(super) fn shift(right: f64, down: f64) -> Self {
        Self {
            offset: [-right, -down],
            ..Self::IDENTITY
        }
    }

    pub(super) fn crop(share: f64, right: f64, down: f64) -> Self {
        Self {
            linear: [[share, 0.0], [0.0, share]],
            offset: [right, down],
        }
    }

    pub(super) fn rotate(angle: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self {
            linear: [[cos, -sin], [sin, cos]],
            ..Self::IDENTITY
        }
    }

    /// The place of the old image that a place of the new image shows.
    pub(super) fn of(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [across, down] = self.linear;
        [
            across[0] * x + across[1] * y + self.offset[0],
            down[0] * x + down[1] * y + self.offset[1],
        ]
    }

    /// This change of an image, and then another one.
    pub(super) fn then(&self, next: Self) -> Self {
        let column = |axis: usize| [next.linear[0][axis], next.linear[1][axis]];
        let product = |row: [f64; 2], column: [f64; 2]| row[0] * column[0] + row[1] * column[1];
        let [across, down] = self.linear;
        Self {
            linear: [
                [product(across, column(0)), product(across, column(1))],
                [product(down, column(0)), product(down, column(1))],
            ],
            offset: self.of(next.offset),
        }
    }

    /// Replaces an image by the one that the map shows.
    pub(super) fn sample(&self, planes: &mut Planes) {
        let (height, width, area) = (planes.height, planes.width, planes.area());
        let centre = [(width as f64 - 1.0) / 2.0, (height as f64 - 1.0) / 2.0];
        let mut sampled = vec![0.0; planes.numbers.len()];
        for row in 0..height {
            for column in 0..width {
                let [x, y] = self.of([column as f64 - centre[0], row as f64 - centre[1]]);
                let across = Between::at(x + centre[0], width);
                let down = Between::at(y + centre[1], height);
                let olds = planes.numbers.chunks_exact(area);
                for (new, old) in sampled.chunks_exact_mut(area).zip(olds) {
                    let above = across.of(&old[down.before * width..][..width]);
                    let below = across.of(&old[down.behind * width..][..width]);
                    new[row * width + column] = above + down.share * (below - above);
                }
            }
        }
        planes.numbers = sampled;
    }
}

/// A place between two neighbours of a line of pixels.
struct Between {
    before: usize,
    behind: usize,
    /// The share of the way from the one before to the one behind.
    share: f32,
}

impl Between {
    fn at(place: f64, length: usize) -> Self {
        let last = length - 1;
        let place = place.clamp(0.0, last as f64);
        let before = (place as usize).min(last);
        Self {
            before,
            behind: (before + 1).min(last),
            share: (place - before as f64) as f32,
        }
    }

    fn of(&self, line: &[f32]) -> f32 {
        let (before, behind) = (line[self.before], line[self.behind]);
        before + self.share * (behind - before)
    }
}

#[cfg(test)]
mod tests {
    use super::super::planes::Levels;
    use super::*;

    /// numpy gave the numbers below, from the formulas above and four neighbours of each place. Pillow's `rotate` gives the
    /// same inside of the image, rounded down.
    #[test]
    #[rustfmt::skip]
    fn places_are_those_of_numpy() {
        let angle = 30f64.to_radians();
        for (map, expected) in [
            (Map::IDENTITY, [0.0, 91.0, 182.0, 17.0, 37.0, 141.0, 245.0, 93.0, 148.0, 9.0, 126.0, 243.0]),
            (Map::flip(), [17.0, 182.0, 91.0, 0.0, 93.0, 245.0, 141.0, 37.0, 243.0, 126.0, 9.0, 148.0]),
            (Map::shift(0.5, -1.25), [64.75, 86.375, 161.625, 172.875, 148.0, 78.5, 67.5, 184.5, 148.0, 78.5, 67.5, 184.5]),
            (Map::crop(0.5, 0.25, -0.5), [91.0, 136.5, 182.0, 99.5, 116.0, 164.75, 213.5, 134.25, 141.0, 193.0, 245.0, 169.0]),
            (Map::rotate(angle), [63.7875, 142.5958, 136.9048, 84.1821, 28.1907, 135.249, 208.0656, 195.5021, 49.8788, 79.4708, 59.6625, 160.9875]),
            (Map::shift(1.0, 0.0).then(Map::rotate(angle)), [0.0, 51.5958, 151.7643, 191.7856, 9.25, 34.499, 105.1028, 132.8906, 49.8788, 105.3788, 87.8112, 43.9875]),
            (Map::rotate(angle).then(Map::shift(1.0, 0.0)), [0.0, 63.7875, 142.5958, 136.9048, 0.0, 28.1907, 135.249, 208.0656, 22.7929, 49.8788, 79.4708, 59.6625]),
        ] {
            let mut planes = Planes {
                numbers: vec![0.0, 91.0, 182.0, 17.0, 37.0, 141.0, 245.0, 93.0, 148.0, 9.0, 126.0, 243.0],
                height: 3,
                width: 4,
                levels: Levels::Bytes,
            };
            map.sample(&mut planes);
            for (found, expected) in planes.numbers.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-3, "{map:?}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn two_flips_are_none() {
        assert_eq!(Map::flip().then(Map::flip()), Map::IDENTITY);
    }
}
