//! [`Rope`]: rotary positions: pairs of numbers of a head turn by an angle that grows with the position.
//!
//! [`Scaling`] are the ways in which models change the frequencies of the pairs for texts that are longer than those of their
//! training.
//!
//! Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021; Peng et al., "YaRN: efficient context window
//! extension of large language models", 2023; Ding et al., "LongRoPE", 2024.

use std::f32::consts::TAU;

/// Which numbers of a head are a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pairs {
    /// A number and the one half of the turned numbers behind it.
    Halves,
    /// Two neighbours.
    Neighbours,
}

/// How the frequencies of pairs change.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scaling {
    /// Not at all.
    None,
    /// All are divided by a number.
    Linear(f32),
    /// Each is divided by a number of its own.
    Divided(Vec<f32>),
    /// Slow ones are divided by `factor`, fast ones are not.
    Llama3 {
        factor: f32,
        low: f32,
        high: f32,
        positions: f32,
    },
    /// Slow ones are divided by `factor`, fast ones are not, with a ramp between; turned numbers are multiplied by `amplitude`.
    Yarn {
        factor: f32,
        fast: f64,
        slow: f64,
        positions: f64,
        amplitude: f32,
        is_whole: bool,
    },
    /// Each is divided by a number of its own, another one for texts of more than `positions` tokens; turned numbers are
    /// multiplied by `amplitude`.
    Long {
        short: Vec<f32>,
        long: Vec<f32>,
        positions: usize,
        amplitude: f32,
    },
}

/// The turns of the pairs of a head.
#[derive(Debug)]
pub(super) struct Rope {
    pairs: Pairs,
    /// Of each pair, in radians for a position.
    frequencies: Vec<f32>,
    /// Those for texts of more than so many tokens.
    long: Option<(usize, Vec<f32>)>,
    amplitude: f32,
}

/// The cosine and the sine of each pair at one position.
#[derive(Debug)]
pub(super) struct Turns(Vec<(f32, f32)>);

impl Rope {
    /// Turns of the first `turned` numbers of a head, an even number, with frequencies from 1 down to almost 1 / `base`.
    pub(super) fn new(pairs: Pairs, turned: usize, base: f32, scaling: &Scaling) -> Self {
        let exponents = (0..turned / 2).map(|pair| (2 * pair) as f32 / turned as f32);
        let frequencies: Vec<f32> = exponents
            .map(|exponent| 1.0 / base.powf(exponent))
            .collect();
        let divided = |by: &[f32]| -> Vec<f32> {
            let all = frequencies.iter().zip(by);
            all.map(|(frequency, by)| frequency / by).collect()
        };
        let (frequencies, long, amplitude) = match scaling {
            Scaling::None => (frequencies, None, 1.0),
            Scaling::Linear(by) => (divided(&vec![*by; turned / 2]), None, 1.0),
            Scaling::Divided(by) => (divided(by), None, 1.0),
            Scaling::Llama3 {
                factor,
                low,
                high,
                positions,
            } => {
                let scaled = |frequency: &f32| {
                    let turns = positions / (TAU / frequency);
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - kept) * frequency / factor + kept * frequency
                };
                (frequencies.iter().map(scaled).collect(), None, 1.0)
            }
            Scaling::Yarn { amplitude, .. } => {
                (yarn(&frequencies, base, scaling), None, *amplitude)
            }
            Scaling::Long {
                short,
                long,
                positions,
                amplitude,
            } => (
                divided(short),
                Some((*positions, divided(long))),
                *amplitude,
            ),
        };
        Self {
            pairs,
            frequencies,
            long,
            amplitude,
        }
    }

    /// Whether a text of so many tokens has the frequencies for long texts.
    pub(super) fn is_long(&self, tokens: usize) -> bool {
        self.long
            .as_ref()
            .is_some_and(|(positions, _)| tokens > *positions)
    }

    /// The turns at a position.
    pub(super) fn turns(&self, position: usize, is_long: bool) -> Turns {
        let frequencies = match &self.long {
            Some((_, long)) if is_long => long,
            _ => &self.frequencies,
        };
        let turn = |frequency: &f32| {
            let angle = position as f32 * frequency;
            (angle.cos() * self.amplitude, angle.sin() * self.amplitude)
        };
        Turns(frequencies.iter().map(turn).collect())
    }

    /// Turns the pairs of a head.
    pub(super) fn turn(&self, head: &mut [f32], turns: &Turns) {
        let count = turns.0.len();
        for (pair, (cosine, sine)) in turns.0.iter().enumerate() {
            let (first, second) = match self.pairs {
                Pairs::Halves => (pair, pair + count),
                Pairs::Neighbours => (2 * pair, 2 * pair + 1),
            };
            let (x, y) = (head[first], head[second]);
            head[first] = x * cosine - y * sine;
            head[second] = y * cosine + x * sine;
        }
    }
}

/// The frequencies of [`Scaling::Yarn`].
fn yarn(frequencies: &[f32], base: f32, scaling: &Scaling) -> Vec<f32> {
    let Scaling::Yarn {
        factor,
        fast,
        slow,
        positions,
        is_whole,
        ..
    } = scaling
    else {
        return frequencies.to_vec();
    };
    let turned = 2.0 * frequencies.len() as f64;
    // The pair that turns so many times within the positions.
    let pair = |turns: f64| {
        let ratio = positions / (turns * std::f64::consts::TAU);
        turned * ratio.ln() / (2.0 * f64::from(base).ln())
    };
    let (from, to) = match is_whole {
        true => (pair(*fast).floor(), pair(*slow).ceil()),
        false => (pair(*fast), pair(*slow)),
    };
    let (from, to) = (from.max(0.0), to.min(turned - 1.0));
    // Not a division by 0.
    let to = if from == to { to + 0.001 } else { to };
    let scaled = |(pair, frequency): (usize, &f32)| {
        let share = ((pair as f64 - from) / (to - from)).clamp(0.0, 1.0) as f32;
        frequency / factor * share + frequency * (1.0 - share)
    };
    frequencies.iter().enumerate().map(scaled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_turn_by_their_position() {
        for (pairs, expected) in [
            (Pairs::Halves, [-2.0, 3.0, 1.0, 4.0]),
            (Pairs::Neighbours, [-3.0, 1.0, 2.0, 4.0]),
        ] {
            let rope = Rope::new(pairs, 4, 1.0, &Scaling::None);
            // Both pairs have the frequency 1, so the position is the angle.
            let mut turns = rope.turns(0, false);
            assert_eq!(turns.0, [(1.0, 0.0); 2]);
            turns.0[0] = (0.0, 1.0);
            let mut head = [1.0, 3.0, 2.0, 4.0];
            rope.turn(&mut head, &turns);
            assert_eq!(head, expected, "{pairs:?}");
        }
    }

    /// The constants are those of transformers 5.24 (`modeling_rope_utils.py`) with a head of 8 numbers and the base 10,000.
    #[test]
    fn scalings_are_those_of_transformers() {
        const LLAMA3: [f32; 4] = [1.0, 0.013_042_256, 0.001_25, 0.000_125];
        const YARN: [f32; 4] = [1.0, 0.1, 0.006_25, 0.000_25];
        let llama3 = Scaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            positions: 64.0,
        };
        let yarn = Scaling::Yarn {
            factor: 4.0,
            fast: 32.0,
            slow: 1.0,
            positions: 2_048.0,
            amplitude: 1.138_629_4,
            is_whole: true,
        };
        for (scaling, expected) in [
            (Scaling::None, [1.0, 0.1, 0.01, 0.001]),
            (Scaling::Linear(4.0), [0.25, 0.025, 0.002_5, 0.000_25]),
            (llama3, LLAMA3),
            (yarn, YARN),
        ] {
            let rope = Rope::new(Pairs::Halves, 8, 10_000.0, &scaling);
            for (found, expected) in rope.frequencies.iter().zip(expected) {
                assert!(
                    (found / expected - 1.0).abs() < 1e-5,
                    "{scaling:?}: {found}, {expected}"
                );
            }
            assert!(!rope.is_long(1 << 20));
        }
    }

    #[test]
    fn long_texts_have_frequencies_of_their_own() {
        let scaling = Scaling::Long {
            short: vec![1.0, 2.0],
            long: vec![4.0, 8.0],
            positions: 10,
            amplitude: 2.0,
        };
        let rope = Rope::new(Pairs::Halves, 4, 1.0, &scaling);
        assert!(!rope.is_long(10) && rope.is_long(11));
        let close = |found: f32, expected: f32| (found - expected).abs() < 1e-6;
        let (cosine, sine) = rope.turns(1, false).0[1];
        assert!(close(cosine, 2.0 * 0.5f32.cos()) && close(sine, 2.0 * 0.5f32.sin()));
        let (cosine, _) = rope.turns(1, true).0[1];
        assert!(close(cosine, 2.0 * 0.125f32.cos()));
    }
}
