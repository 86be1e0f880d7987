//! Sums of slices that vector instructions compute, in an order that does not depend on the width of a vector.

use std::ops::Add;

/// The partial sums of a slice.
const PARTS: usize = 16;

/// Σ `f(value)`: sixteen partial sums side by side, then their sum. Inlined, so that it is compiled for the instruction set of
/// its caller.
#[inline(always)]
pub(super) fn sum<T: Copy, S>(values: &[T], f: impl Fn(T) -> S) -> S
where
    S: Copy + Default + Add<Output = S>,
{
    let add = |sum: S, &value: &T| sum + f(value);
    let (chunks, rest) = values.as_chunks::<PARTS>();
    let rest = rest.iter().fold(S::default(), add);
    if chunks.is_empty() {
        return rest;
    }
    let mut parts = [S::default(); PARTS];
    for chunk in chunks {
        for (part, value) in parts.iter_mut().zip(chunk) {
            *part = add(*part, value);
        }
    }
    total(parts) + rest
}

/// Σ `f(left, right)` over two slices of one length, in the same order.
#[inline(always)]
pub(super) fn sum_of_pairs<T: Copy, S>(left: &[T], right: &[T], f: impl Fn(T, T) -> S) -> S
where
    S: Copy + Default + Add<Output = S>,
{
    let add = |sum: S, (&left, &right): (&T, &T)| sum + f(left, right);
    let (left, rest_left) = left.as_chunks::<PARTS>();
    let (right, rest_right) = right.as_chunks::<PARTS>();
    let rest = rest_left.iter().zip(rest_right);
    let rest = rest.fold(S::default(), add);
    if left.is_empty() {
        return rest;
    }
    let mut parts = [S::default(); PARTS];
    for (left, right) in left.iter().zip(right) {
        for (part, pair) in parts.iter_mut().zip(left.iter().zip(right)) {
            *part = add(*part, pair);
        }
    }
    total(parts) + rest
}

/// The sum of partial sums: of those that are half of all apart first.
#[inline(always)]
pub(super) fn total<S: Copy + Add<Output = S>>(mut parts: [S; PARTS]) -> S {
    let mut half = PARTS / 2;
    while half > 0 {
        let (low, high) = parts.split_at_mut(half);
        for (low, high) in low.iter_mut().zip(high) {
            *low = *low + *high;
        }
        half /= 2;
    }
    parts[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_has_every_number_once() {
        for count in [0, 1, 15, 16, 17, 100u16] {
            let values: Vec<f32> = (1..=count).map(f32::from).collect();
            let expected = f64::from(count) * f64::from(count + 1) / 2.0;
            assert_eq!(sum(&values, f64::from), expected, "{count}");
            let ones = vec![1.0; values.len()];
            let product = |left: f32, right: f32| f64::from(left * right);
            assert_eq!(sum_of_pairs(&values, &ones, product), expected, "{count}");
        }
    }
}
