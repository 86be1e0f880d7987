//! [`Range`]: the range of an axis, and the round numbers on it, for the charts of the shell and of the page.

/// About this many marks stand at an axis.
const MARKS: f64 = 5.0;
/// No axis has more marks.
const MARKS_MAX: u32 = 20;

/// The range of an axis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Range {
    /// The range of finite values, of which there is at least one.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        Self { low, high }
    }

    /// The range with room around a single value.
    pub(crate) fn with_room(self) -> Self {
        if self.low < self.high {
            return self;
        }
        let around = 0.5_f64.max(self.low.abs() * 1e-6);
        Self {
            low: self.low - around,
            high: self.low + around,
        }
    }

    /// The place of a value between low (0) and high (1); the middle if they are equal.
    pub(crate) fn share(self, value: f64) -> f64 {
        // Halves, since the difference of two large values may be infinite.
        let span = self.high / 2.0 - self.low / 2.0;
        match span > 0.0 {
            true => (value / 2.0 - self.low / 2.0) / span,
            false => 0.5,
        }
    }

    /// The round numbers in the range.
    pub(crate) fn marks(self) -> Vec<f64> {
        let step = self.step();
        let from = (self.low / step - 1e-9).ceil();
        let to = (self.high / step + 1e-9).floor();
        multiples(step, (from, to))
    }

    /// The range from a round number to a round number, and all of these numbers.
    pub(crate) fn rounded(self) -> (Self, Vec<f64>) {
        let step = self.step();
        let from = (self.low / step + 1e-9).floor();
        let to = (self.high / step - 1e-9).ceil();
        let marks = multiples(step, (from, to));
        let whole = Self {
            low: marks.first().map_or(self.low, |first| first.min(self.low)),
            high: marks.last().map_or(self.high, |last| last.max(self.high)),
        };
        (whole, marks)
    }

    /// The distance of the marks.
    fn step(self) -> f64 {
        let rough = self.high / MARKS - self.low / MARKS;
        let power = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|part| part * power);
        let step = steps.into_iter().find(|step| *step >= rough * 0.999);
        step.unwrap_or(rough)
    }
}

/// The multiples of a step, from one whole number of steps to another.
fn multiples(step: f64, (from, to): (f64, f64)) -> Vec<f64> {
    let counts = (0..MARKS_MAX).map(|index| from + f64::from(index));
    let marks = counts.take_while(|count| *count <= to);
    let marks = marks.map(|count| count * step);
    marks.filter(|mark| mark.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_numbers() {
        for (values, within, around) in [
            (
                [0.0, 1.0],
                &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0][..],
                &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0][..],
            ),
            (
                [1.0, 40.0],
                &[10.0, 20.0, 30.0, 40.0],
                &[0.0, 10.0, 20.0, 30.0, 40.0],
            ),
            (
                [7.0, 7.0],
                &[6.6, 6.8, 7.0, 7.2, 7.4],
                &[6.4, 6.6, 6.8, 7.0, 7.2, 7.4, 7.6],
            ),
            (
                [1.9, 6.1],
                &[2.0, 3.0, 4.0, 5.0, 6.0],
                &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
            ),
            (
                [-1e300, 1e300],
                &[-1e300, -5e299, 0.0, 5e299, 1e300],
                &[-1e300, -5e299, 0.0, 5e299, 1e300],
            ),
        ] {
            let range = Range::of(values.into_iter()).with_room();
            let is_near = |(found, expected): (&f64, &f64)| {
                (found - expected).abs() <= 1e-9 * range.high.abs()
            };
            let marks = range.marks();
            assert!(
                marks.len() == within.len() && marks.iter().zip(within).all(is_near),
                "{marks:?}"
            );
            let (whole, marks) = range.rounded();
            assert!(
                marks.len() == around.len() && marks.iter().zip(around).all(is_near),
                "{marks:?}"
            );
            assert!(is_near((&whole.low, &around[0])), "{whole:?}");
            assert!(whole.low <= range.low && whole.high >= range.high);
        }
    }

    #[test]
    fn ranges_at_the_ends_of_the_numbers_have_places() {
        for (low, high) in [
            (-f64::MAX, f64::MAX),
            (0.0, f64::from_bits(1)),
            (1.0, 1.0 + f64::EPSILON),
        ] {
            let (whole, marks) = Range { low, high }.rounded();
            assert!(marks.iter().all(|mark| mark.is_finite()), "{marks:?}");
            for value in [low, high] {
                let place = whole.share(value);
                assert!((0.0..=1.0).contains(&place), "{value}: {place}");
            }
        }
    }
}
