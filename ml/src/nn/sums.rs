//! Sums of slices that vector instructions compute, in an order that does not depend on the width of a vector.

/// The partial sums of a slice.
const PARTS: usize = 16;

/// Σ `f(value)`: sixteen partial sums side by side, then their sum. Inlined, so that it is compiled for the instruction set of
/// its caller.
#[inline(always)]
pub(super) fn sum<T: Copy, S>(values: &[T], f: impl Fn(T) -> S) -> S
where
    S: Copy + Default + std::ops::Add<Output = S>,
{
    let mut parts = [S::default(); PARTS];
    let (chunks, rest) = values.as_chunks::<PARTS>();
    for chunk in chunks {
        for (part, &value) in parts.iter_mut().zip(chunk) {
            *part = *part + f(value);
        }
    }
    for (part, &value) in parts.iter_mut().zip(rest) {
        *part = *part + f(value);
    }
    total(parts)
}

/// The sum of partial sums: of those that are half of all apart first.
#[inline(always)]
pub(super) fn total<S: Copy + std::ops::Add<Output = S>>(mut parts: [S; PARTS]) -> S {
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
        for count in [0, 1, 15, 16, 17, 100] {
            let values: Vec<f32> = (1..=count).map(|number| number as f32).collect();
            let expected = (count * (count + 1) / 2) as f32;
            assert_eq!(sum(&values, |value| value), expected, "{count}");
            assert_eq!(
                sum(&values, |value| f64::from(value) * 2.0),
                f64::from(expected) * 2.0
            );
        }
    }
}
