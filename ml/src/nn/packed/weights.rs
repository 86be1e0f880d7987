//! Scores of keys become weights, which add up to 1.

use std::ops::Range;

use super::sizes::Sizes;
use crate::nn::sums::{sum, sum_of_pairs};
use crate::nn::values::Float;
use crate::simd::simd_fn;

/// The partial maxima of a slice.
const PARTS: usize = 16;

/// Replaces the products of a query of a head with `keys` by the weights of these keys: 0 for those that it does not see. All
/// places are those in the sequence of so many `tokens`; `bias` are the numbers of all heads.
pub(super) fn weigh<T: Float>(
    sizes: &Sizes,
    (head, query): (usize, usize),
    (keys, tokens): (&Range<usize>, usize),
    bias: Option<&[T]>,
    scores: &mut [T],
) {
    let seen = sizes.sight.of_query(query, tokens);
    let (start, end) = (seen.start - keys.start, seen.end - keys.start);
    scores[..start].fill(T::zero());
    scores[end..].fill(T::zero());
    let scores = &mut scores[start..end];
    let scale = T::of(sizes.scale);
    scores.iter_mut().for_each(|score| *score *= scale);
    if let Some(bias) = bias {
        add_bias(sizes, (head, query), &seen, bias, scores);
    }
    write_softmax(scores);
}

/// Adds to the scores of a query of a head what the bias has for the keys that it sees.
#[inline(always)]
pub(super) fn add_bias<T: Float>(
    sizes: &Sizes,
    (head, query): (usize, usize),
    seen: &Range<usize>,
    bias: &[T],
    scores: &mut [T],
) {
    let Some(distances) = sizes.distances else {
        return;
    };
    let bias = &bias[distances.of_head(head)];
    match distances.places(query, seen) {
        Some(places) => {
            let pairs = scores.iter_mut().zip(&bias[places]);
            pairs.for_each(|(score, &bias)| *score += bias);
        }
        None => {
            for (score, key) in scores.iter_mut().zip(seen.clone()) {
                *score += bias[distances.place(query, key)];
            }
        }
    }
}

simd_fn! {
    fn write_softmax<'a, T: Float>(scores: &'a mut [T]) {
        softmax(scores);
    }
}

simd_fn! {
    /// [`score_slopes`] for a loop of its own.
    pub(super) fn write_score_slopes<'a, T: Float>(weights: &'a [T], slopes: &'a mut [T]) {
        score_slopes(weights, slopes);
    }
}

/// Replaces the slopes of the weights of a query by those of its scores. Inlined, as `softmax`.
#[inline(always)]
pub(super) fn score_slopes<T: Float>(weights: &[T], slopes: &mut [T]) {
    let sum = sum_of_pairs(slopes, weights, |slope, weight| slope * weight);
    for (slope, &weight) in slopes.iter_mut().zip(weights) {
        *slope = weight * (*slope - sum);
    }
}

/// Replaces scores by their exponentials, divided by the sum of these. Inlined, so that it is compiled for the instruction set of
/// its caller.
#[inline(always)]
pub(super) fn softmax<T: Float>(scores: &mut [T]) {
    let most = greatest(scores);
    for score in scores.iter_mut() {
        *score = (*score - most).quick_exp();
    }
    let factor = T::one() / sum(scores, |power: T| power);
    scores.iter_mut().for_each(|power| *power *= factor);
}

/// The greatest number: sixteen partial maxima side by side, then theirs. NaN is not compared; it stays NaN as a power, and so
/// does then the sum.
#[inline(always)]
fn greatest<T: Float>(values: &[T]) -> T {
    let greater = |most: T, &value: &T| if value > most { value } else { most };
    let least = T::of(f64::NEG_INFINITY);
    let (chunks, rest) = values.as_chunks::<PARTS>();
    let mut parts = [least; PARTS];
    for chunk in chunks {
        for (part, value) in parts.iter_mut().zip(chunk) {
            *part = greater(*part, value);
        }
    }
    let most = parts.iter().fold(least, greater);
    rest.iter().fold(most, greater)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_number_is_found_everywhere() {
        for count in [1, 15, 16, 17, 50] {
            for place in [0, count / 2, count - 1] {
                let mut values: Vec<f32> = (0..count).map(|n| -(n as f32) - 2.0).collect();
                values[place] = -1.0;
                assert_eq!(greatest(&values), -1.0, "{place} of {count}");
            }
        }
    }

    #[test]
    fn weights_of_great_scores_and_of_nan() {
        let mut scores = [300.0f32, 100.0, 300.0];
        write_softmax(&mut scores);
        assert_eq!(scores, [0.5, 0.0, 0.5]);
        let mut scores = [0.0f32, f32::NAN, 1.0];
        write_softmax(&mut scores);
        assert!(scores.iter().all(|weight| weight.is_nan()));
    }
}
