//! [`Planes`]: the numbers of one image, a plane for each channel.

/// What the numbers of an image are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Levels {
    /// From 0 to 255: a change never leaves the range.
    Bytes,
    /// Any numbers.
    Numbers,
}

/// The numbers of one image, `[channels, height, width]`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Planes {
    /// The numbers.
    pub numbers: Vec<f32>,
    /// The rows of a plane.
    pub height: usize,
    /// The numbers of a row.
    pub width: usize,
    /// What the numbers are.
    pub levels: Levels,
}

impl Planes {
    /// The numbers of a plane.
    pub(super) fn area(&self) -> usize {
        self.height * self.width
    }

    /// Changes each number, within the range of its levels.
    pub(super) fn change(&mut self, of: impl Fn(f32) -> f32) {
        let levels = self.levels;
        for number in &mut self.numbers {
            *number = within(levels, of(*number));
        }
    }
}

/// The number within the range of the levels.
pub(super) fn within(levels: Levels, number: f32) -> f32 {
    match levels {
        Levels::Bytes => number.clamp(0.0, 255.0),
        Levels::Numbers => number,
    }
}
