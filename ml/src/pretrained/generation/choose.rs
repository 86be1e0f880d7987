//! [`choose`]: the next token of a text, from the scores of all tokens.

use crate::model::generation::Generation;

/// The token of the greatest score, the first of several; with a temperature above 0 a token that is drawn: `draw` gives a number
/// from 0 up to 1. `None` if a score is NaN or infinite.
pub(super) fn choose(scores: &[f32], how: &Generation, draw: impl FnOnce() -> f64) -> Option<u32> {
    if !scores.iter().all(|score| score.is_finite()) {
        return None;
    }
    if how.temperature == 0.0 {
        let mut best = 0;
        for (token, score) in scores.iter().enumerate() {
            if *score > scores[best] {
                best = token;
            }
        }
        return u32::try_from(best).ok();
    }
    let likely = likely(scores, how);
    let total: f64 = likely.iter().map(|(_, power)| power).sum();
    let mut rest = draw() * total;
    for (token, power) in &likely {
        rest -= power;
        if rest < 0.0 {
            return Some(*token);
        }
    }
    // Sums of rounded numbers may end before the total.
    likely.last().map(|(token, _)| *token)
}

/// The tokens to draw from, the most probable first, each with a number in proportion to its probability.
fn likely(scores: &[f32], how: &Generation) -> Vec<(u32, f64)> {
    let mut tokens: Vec<u32> = (0..scores.len() as u32).collect();
    let score = |token: u32| scores[token as usize];
    tokens.sort_unstable_by(|left, right| {
        let by_score = score(*right).total_cmp(&score(*left));
        by_score.then(left.cmp(right))
    });
    tokens.truncate(how.top_k.unwrap_or(usize::MAX));
    let greatest = tokens.first().map_or(0.0, |token| f64::from(score(*token)));
    let power = |token: u32| ((f64::from(score(token)) - greatest) / how.temperature).exp();
    let mut likely: Vec<(u32, f64)> = tokens.iter().map(|token| (*token, power(*token))).collect();
    let total: f64 = likely.iter().map(|(_, power)| power).sum();
    let mut sum = 0.0;
    let fewer = likely.iter().position(|(_, power)| {
        sum += power;
        sum >= how.top_p * total
    });
    if let Some(last) = fewer.filter(|_| how.top_p < 1.0) {
        likely.truncate(last + 1);
    }
    likely
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f32; 4] = [1.0, 3.0, 2.0, 3.0];

    fn drawn(how: &Generation, at: f64) -> Option<u32> {
        choose(&SCORES, how, || at)
    }

    #[test]
    fn without_a_temperature_the_first_best_token_is_taken() {
        let greedy = Generation::default();
        assert_eq!(drawn(&greedy, 0.9), Some(1));
        let nan = [0.0, f32::NAN];
        assert_eq!(choose(&nan, &greedy, || 0.0), None);
        let warm = Generation {
            temperature: 1.0,
            ..greedy
        };
        assert_eq!(choose(&[f32::INFINITY], &warm, || 0.0), None);
    }

    #[test]
    fn tokens_are_drawn_in_proportion_to_their_probability() {
        let warm = Generation {
            temperature: 0.5,
            ..Generation::default()
        };
        // By hand: powers 1, 1, exp(-2), exp(-4) of the tokens 1, 3, 2, 0.
        let total = 2.0 + (-2f64).exp() + (-4f64).exp();
        for (at, expected) in [
            (0.0, 1),
            (0.999 / total, 1),
            (1.001 / total, 3),
            (2.001 / total, 2),
            ((total - 0.001) / total, 0),
        ] {
            assert_eq!(drawn(&warm, at), Some(expected), "{at}");
        }
        let few = Generation {
            top_k: Some(2),
            ..warm.clone()
        };
        assert_eq!(drawn(&few, 0.999_999), Some(3));
        // Both best tokens have 0.93 together, one alone 0.46.
        let half = Generation {
            top_p: 0.5,
            ..warm.clone()
        };
        assert_eq!(drawn(&half, 0.999_999), Some(3));
        let less = Generation { top_p: 0.4, ..warm };
        assert_eq!(drawn(&less, 0.999_999), Some(1));
    }
}
