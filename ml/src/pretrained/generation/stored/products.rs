//! Sums of products, in an order that depends on nothing but their length.
//!
//! A sum has [`LANES`] partial sums, which the vector instructions of each processor compute alike. So the numbers of a token are
//! the same to the last bit beside any other tokens, and in any piece of its text.

use crate::simd::simd_fn;

/// The partial sums of a sum.
const LANES: usize = 16;
/// The sums that are computed at once, so that a vector is read once for them.
const AT_ONCE: usize = 4;

/// Where products go: to so many columns from the first, in rows of so many columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// The numbers of a vector.
    pub(super) inputs: usize,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) columns: usize,
}

simd_fn! {
    /// Writes the products of each vector of `x` `[rows, inputs]` with each row of `weights` `[count, inputs]` to `y`
    /// `[rows, columns]`.
    pub(super) fn write_products<'a>(x: &'a [f32], weights: &'a [f32], y: &'a mut [f32], places: Places) {
        let Places { inputs, first, count, columns } = places;
        for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact_mut(columns)) {
            let (several, single) = y[first..first + count].as_chunks_mut::<AT_ONCE>();
            let (rows, rest) = weights.split_at(several.len() * AT_ONCE * inputs);
            for (rows, y) in rows.chunks_exact(AT_ONCE * inputs).zip(several) {
                *y = dots(x, rows);
            }
            for (row, y) in rest.chunks_exact(inputs).zip(single) {
                *y = dot(x, row);
            }
        }
    }
}

simd_fn! {
    /// Divides each vector of `x` by the root of its mean square, and multiplies it by `weight`.
    pub(crate) fn rms_norm<'a>(x: &'a mut [f32], weight: &'a [f32], epsilon: f32) {
        let width = weight.len();
        for x in x.chunks_exact_mut(width) {
            let mean = dot(x, x) / width as f32;
            let factor = 1.0 / (mean + epsilon).sqrt();
            for (x, weight) in x.iter_mut().zip(weight) {
                *x = *x * factor * weight;
            }
        }
    }
}

/// Adds `y` to `x`.
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// The sum of the products of `x` and `y`, which have one length. Part of functions of [`simd_fn`].
#[inline(always)]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let [sum] = dots::<1>(x, y);
    sum
}

/// The sums of the products of `x` with each of the `N` rows of `y`.
#[inline(always)]
fn dots<const N: usize>(x: &[f32], y: &[f32]) -> [f32; N] {
    let rows: [&[f32]; N] = std::array::from_fn(|row| &y[row * x.len()..][..x.len()]);
    let (pieces, rest) = x.as_chunks::<LANES>();
    let mut sums = [[0.0; LANES]; N];
    for (at, x) in pieces.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let y = &row[at * LANES..][..LANES];
            for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
                *sum += x * y;
            }
        }
    }
    let done = x.len() - rest.len();
    std::array::from_fn(|row| {
        let mut sum = sum_of_lanes(sums[row]);
        for (x, y) in rest.iter().zip(&rows[row][done..]) {
            sum += x * y;
        }
        sum
    })
}

/// The sum of the partial sums, by halves.
#[inline(always)]
fn sum_of_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        let (low, high) = lanes.split_at_mut(width);
        low.iter_mut()
            .zip(high)
            .for_each(|(low, high)| *low += *high);
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{normal, stream};

    #[test]
    fn products_are_those_of_f64_for_any_number_of_rows() {
        let mut random = stream(1, "products", &[]);
        for (rows, inputs, outputs) in [(1, 1, 1), (2, 16, 4), (3, 37, 5), (1, 100, 11)] {
            let x = normal(rows * inputs, &mut random);
            let weights = normal(outputs * inputs, &mut random);
            let places = Places {
                inputs,
                first: 2,
                count: outputs,
                columns: outputs + 3,
            };
            let mut y = vec![7.0; rows * places.columns];
            write_products(&x, &weights, &mut y, places);
            for (row, y) in y.chunks(places.columns).enumerate() {
                assert_eq!([y[0], y[1], y[outputs + 2]], [7.0; 3]);
                let x = &x[row * inputs..][..inputs];
                for (output, found) in y[2..outputs + 2].iter().enumerate() {
                    let weights = &weights[output * inputs..][..inputs];
                    let pairs = x.iter().zip(weights);
                    let exact: f64 = pairs.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    assert!((f64::from(*found) - exact).abs() < 1e-4);
                    // Four at once and one alone have the same bits.
                    let mut alone = [0.0];
                    let one = Places {
                        inputs,
                        first: 0,
                        count: 1,
                        columns: 1,
                    };
                    write_products(x, weights, &mut alone, one);
                    assert_eq!(alone[0].to_bits(), found.to_bits());
                }
            }
        }
    }

    #[test]
    fn a_norm_divides_by_the_root_of_the_mean_square() {
        let mut x = [3.0, -4.0, 0.0, 0.0];
        rms_norm(&mut x, &[1.0, 2.0], 0.0);
        let root = 12.5f32.sqrt();
        assert!((x[0] - 3.0 / root).abs() < 1e-6 && (x[1] + 8.0 / root).abs() < 1e-6);
        assert!(x[2].is_nan());
        let mut zeros = [0.0; 2];
        rms_norm(&mut zeros, &[1.0, 2.0], 1e-6);
        assert_eq!(zeros, [0.0; 2]);
    }
}
