//! Products of two small matrices, with sums in registers.
//!
//! ```text
//! to[row][lane] = Σ over terms: left[row][term] · right[term][lane]        or += instead of =
//! ```
//! Six or eight rows times one or two vectors are summed at once: for each term and row, one number of the left matrix is spread
//! over a vector. A sum takes its terms one after the other, so no number depends on how many others are computed beside it.

use crate::nn::direct::Lanes;

/// The two matrices of a product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) rows: usize,
    pub(super) terms: usize,
    pub(super) left: &'a [f32],
    /// How far apart its rows and its terms are.
    pub(super) left_steps: [usize; 2],
    pub(super) right: &'a [f32],
    /// How far apart its terms are.
    pub(super) right_step: usize,
}

/// The place of a product.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) to: &'a mut [f32],
    /// How far apart its rows are.
    pub(super) step: usize,
    /// The sums begin with what is there.
    pub(super) adds: bool,
}

/// Writes `V` vectors of each row of the product.
///
/// # Panics
/// If there is no row or no term, or if a slice is too short.
#[inline(always)]
pub(super) fn write_sums<L: Lanes, const V: usize>(lanes: L, terms: Terms<'_>, place: Place<'_>) {
    let Place { to, step, adds } = place;
    let [row_step, term_step] = terms.left_steps;
    assert!(terms.rows > 0 && terms.terms > 0, "a product of nothing");
    let (last_row, last_term) = (terms.rows - 1, terms.terms - 1);
    assert!(
        last_row * row_step + last_term * term_step < terms.left.len(),
        "the left matrix of a product"
    );
    assert!(
        last_term * terms.right_step + V * L::COUNT <= terms.right.len(),
        "the right matrix of a product"
    );
    assert!(
        last_row * step + V * L::COUNT <= to.len(),
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
                left: terms.left.as_ptr().add(row * row_step),
                left_steps: terms.left_steps,
                right: terms.right.as_ptr(),
                right_step: terms.right_step,
                to: to.as_mut_ptr().add(row * step),
                to_step: step,
                adds,
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
    left_steps: [usize; 2],
    right: *const f32,
    right_step: usize,
    to: *mut f32,
    to_step: usize,
    adds: bool,
}

impl Numbers {
    /// Sums `R` rows of `V` vectors in registers.
    ///
    /// # Safety
    /// `left` may be read at `R` rows of `terms` numbers, and `right` at `terms` rows of `V` vectors; `to` may be read and written
    /// at `R` rows of `V` vectors. They are as far apart as the steps say.
    #[inline(always)]
    unsafe fn write<L: Lanes, const R: usize, const V: usize>(self, lanes: L) {
        // SAFETY: as the caller promises.
        unsafe {
            let [row_step, term_step] = self.left_steps;
            let mut rows = [self.left; R];
            for (row, pointer) in rows.iter_mut().enumerate() {
                *pointer = self.left.add(row * row_step);
            }
            let mut sums = [[lanes.splat(0.0); V]; R];
            if self.adds {
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (number, sum) in sums.iter_mut().enumerate() {
                        *sum = lanes.load(self.to.add(row * self.to_step + number * L::COUNT));
                    }
                }
            }
            for term in 0..self.terms {
                let right = self.right.add(term * self.right_step);
                let mut factors = [lanes.splat(0.0); V];
                for (number, vector) in factors.iter_mut().enumerate() {
                    *vector = lanes.load(right.add(number * L::COUNT));
                }
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let number = lanes.splat(*row.add(term * term_step));
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
        is_transposed: bool,
        adds: bool,
    }

    impl Work for Product {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) {
            let vectors = if self.is_wide { 2 } else { 1 };
            let width = vectors * L::COUNT;
            let left_steps @ [row_step, term_step] = match self.is_transposed {
                false => [self.terms + 3, 1],
                true => [1, self.rows + 2],
            };
            let (right_step, step) = (width + 1, width + 2);
            let numbers = |count: usize| (0..count).map(|n| (n * 7 % 11) as f32 - 5.0);
            let left: Vec<f32> = numbers(self.rows * row_step + self.terms * term_step).collect();
            let right: Vec<f32> = numbers(self.terms * right_step).collect();
            let mut to = vec![0.5; self.rows * step];
            let terms = Terms {
                rows: self.rows,
                terms: self.terms,
                left: &left,
                left_steps,
                right: &right,
                right_step,
            };
            let place = Place {
                to: &mut to,
                step,
                adds: self.adds,
            };
            match self.is_wide {
                true => write_sums::<L, 2>(lanes, terms, place),
                false => write_sums::<L, 1>(lanes, terms, place),
            }
            let start = if self.adds { 0.5 } else { 0.0 };
            for (row, to) in to.chunks_exact(step).enumerate() {
                for (lane, &found) in to.iter().enumerate() {
                    let products = (0..self.terms).map(|term| {
                        left[row * row_step + term * term_step] * right[term * right_step + lane]
                    });
                    let expected = match lane < width {
                        true => start + products.sum::<f32>(),
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
            for (rows, terms) in (1..=17).flat_map(|rows| [1, 2, 9].map(|terms| (rows, terms))) {
                for case in 0..8 {
                    instructions.run(Product {
                        rows,
                        terms,
                        is_wide: case & 1 > 0,
                        is_transposed: case & 2 > 0,
                        adds: case & 4 > 0,
                    });
                }
            }
        }
    }
}
