//! Products of two small matrices, with sums in registers.
//!
//! ```text
//! to[row][lane] = Σ over terms: left[row][term] · right[term][lane]
//! ```
//! Six or eight rows times one or two vectors are summed at once: for each term and row, one number of the left matrix is spread
//! over a vector. A sum takes its terms one after the other, so no number depends on how many others are computed beside it.

use crate::nn::direct::Lanes;

/// The two matrices of a product. Their rows are so many numbers apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) rows: usize,
    pub(super) terms: usize,
    pub(super) left: &'a [f32],
    pub(super) left_step: usize,
    pub(super) right: &'a [f32],
    pub(super) right_step: usize,
}

/// Writes `V` vectors of each row of the product to `to`, whose rows are `to_step` apart.
///
/// # Panics
/// If there is no row or no term, or if a slice is too short.
#[inline(always)]
pub(super) fn write_sums<L: Lanes, const V: usize>(
    lanes: L,
    terms: Terms<'_>,
    to: &mut [f32],
    to_step: usize,
) {
    assert!(terms.rows > 0 && terms.terms > 0, "a product of nothing");
    let (last_row, last_term) = (terms.rows - 1, terms.terms - 1);
    assert!(
        last_row * terms.left_step + last_term < terms.left.len(),
        "the left matrix of a product"
    );
    assert!(
        last_term * terms.right_step + V * L::COUNT <= terms.right.len(),
        "the right matrix of a product"
    );
    assert!(
        last_row * to_step + V * L::COUNT <= to.len(),
        "the result of a product"
    );
    // As many rows as the registers hold: AVX-512 has 32 of them, AVX2 16.
    let at_once = if L::COUNT == 16 { 8 } else { 6 };
    let mut row = 0;
    while row < terms.rows {
        let rows = at_once.min(terms.rows - row);
        // SAFETY: the last number of the last row and term is inside of each slice, as checked above, and so are those before it.
        unsafe {
            let numbers = Numbers {
                terms: terms.terms,
                left: terms.left.as_ptr().add(row * terms.left_step),
                left_step: terms.left_step,
                right: terms.right.as_ptr(),
                right_step: terms.right_step,
                to: to.as_mut_ptr().add(row * to_step),
                to_step,
            };
            match rows {
                1 => numbers.write::<L, 1, V>(lanes),
                2 => numbers.write::<L, 2, V>(lanes),
                3 => numbers.write::<L, 3, V>(lanes),
                4 => numbers.write::<L, 4, V>(lanes),
                5 => numbers.write::<L, 5, V>(lanes),
                6 => numbers.write::<L, 6, V>(lanes),
                7 => numbers.write::<L, 7, V>(lanes),
                _ => numbers.write::<L, 8, V>(lanes),
            }
        }
        row += rows;
    }
}

/// The numbers of a few rows.
#[derive(Clone, Copy)]
struct Numbers {
    terms: usize,
    left: *const f32,
    left_step: usize,
    right: *const f32,
    right_step: usize,
    to: *mut f32,
    to_step: usize,
}

impl Numbers {
    /// Sums `R` rows of `V` vectors in registers.
    ///
    /// # Safety
    /// `left` may be read at `R` rows of `terms` numbers, and `right` at `terms` rows of `V` vectors; `to` may be written at `R`
    /// rows of `V` vectors. The rows of each are as far apart as its step says.
    #[inline(always)]
    unsafe fn write<L: Lanes, const R: usize, const V: usize>(self, lanes: L) {
        // SAFETY: as the caller promises.
        unsafe {
            let mut rows = [self.left; R];
            for (row, pointer) in rows.iter_mut().enumerate() {
                *pointer = self.left.add(row * self.left_step);
            }
            let mut sums = [[lanes.splat(0.0); V]; R];
            for term in 0..self.terms {
                let right = self.right.add(term * self.right_step);
                let mut factors = [lanes.splat(0.0); V];
                for (number, vector) in factors.iter_mut().enumerate() {
                    *vector = lanes.load(right.add(number * L::COUNT));
                }
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let number = lanes.splat(*row.add(term));
                    for (sum, factor) in sums.iter_mut().zip(factors) {
                        *sum = lanes.mul_add(number, factor, *sum);
                    }
                }
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (number, sum) in sums.into_iter().enumerate() {
                    lanes.store(self.to.add(row * self.to_step + number * L::COUNT), sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::direct::{Instructions, Work};

    /// A product of `rows` rows and so many terms, and what stands around it.
    struct Product {
        rows: usize,
        terms: usize,
        is_wide: bool,
    }

    impl Work for Product {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) {
            let vectors = if self.is_wide { 2 } else { 1 };
            let width = vectors * L::COUNT;
            let (left_step, right_step, to_step) = (self.terms + 3, width + 1, width + 2);
            let numbers = |count: usize| (0..count).map(|n| (n * 7 % 11) as f32 - 5.0);
            let left: Vec<f32> = numbers(self.rows * left_step).collect();
            let right: Vec<f32> = numbers(self.terms * right_step).collect();
            let mut to = vec![0.5; self.rows * to_step];
            let terms = Terms {
                rows: self.rows,
                terms: self.terms,
                left: &left,
                left_step,
                right: &right,
                right_step,
            };
            match self.is_wide {
                true => write_sums::<L, 2>(lanes, terms, &mut to, to_step),
                false => write_sums::<L, 1>(lanes, terms, &mut to, to_step),
            }
            for (row, to) in to.chunks_exact(to_step).enumerate() {
                for (lane, &found) in to.iter().enumerate() {
                    let products = (0..self.terms)
                        .map(|term| left[row * left_step + term] * right[term * right_step + lane]);
                    let expected = match lane < width {
                        true => products.sum::<f32>(),
                        false => 0.5,
                    };
                    assert_eq!(found, expected, "{lane} of row {row}");
                }
            }
        }
    }

    #[test]
    fn products_of_any_number_of_rows_are_sums() {
        for instructions in Instructions::all() {
            for rows in 1..=17 {
                for terms in [1, 2, 9] {
                    for is_wide in [false, true] {
                        instructions.run(Product {
                            rows,
                            terms,
                            is_wide,
                        });
                    }
                }
            }
        }
    }
}
