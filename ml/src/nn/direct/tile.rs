//! The kernel of most convolutions: a product of two matrices, of which the left one is in an image and is never copied out of
//! it.
//!
//! ```text
//! to[row][lane] = start[lane] + Σ over terms: source[rows[row] + terms[term]] · factors[term][lane]
//! ```
//! The lanes of a vector are channels of the result. Six or eight rows times one or two vectors are summed in registers: for each
//! term and row, one number of the image is spread over a vector.
//!
//! | product | rows | terms | factors |
//! | --- | --- | --- | --- |
//! | output | positions of the window | elements of the window | weights |
//! | slopes of the input | pixels | elements of the window | weights |
//! | slopes of the weights | elements of the window | positions of the window | slopes of the output |

use super::lanes::Lanes;
use super::places::SomePlaces;

/// The two matrices of a product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) source: &'a [f32],
    pub(super) rows: SomePlaces<'a>,
    pub(super) terms: SomePlaces<'a>,
    /// `[terms, lanes]`
    pub(super) factors: &'a [f32],
}

/// What the sums are added to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start<'a> {
    /// The same `[lanes]` in each row.
    Row(&'a [f32]),
    /// What is in the result.
    Result,
}

/// Writes a product of `vectors` vectors, 1 or 2, in each row, to `to`, `[rows, lanes]`.
///
/// # Panics
/// If a place is outside of the source, or if a slice is too short.
#[inline(always)]
pub(super) fn write_sums<L: Lanes>(
    lanes: L,
    vectors: usize,
    terms: Terms<'_>,
    start: Start<'_>,
    to: &mut [f32],
) {
    match vectors {
        1 => write_wide::<L, 1>(lanes, terms, start, to),
        _ => write_wide::<L, 2>(lanes, terms, start, to),
    }
}

#[inline(always)]
fn write_wide<L: Lanes, const V: usize>(
    lanes: L,
    terms: Terms<'_>,
    start: Start<'_>,
    to: &mut [f32],
) {
    let width = V * L::COUNT;
    let Terms {
        source,
        rows,
        terms,
        factors,
    } = terms;
    assert!(
        rows.max() + terms.max() < source.len(),
        "places in an image"
    );
    assert!(
        factors.len() >= terms.values().len() * width,
        "factors of a product"
    );
    let to = &mut to[..rows.values().len() * width];
    let to = to.as_mut_ptr();
    let (start, start_step) = match start {
        Start::Row(row) => (row[..width].as_ptr(), 0),
        Start::Result => (to.cast_const(), width),
    };
    let (source, factors) = (source.as_ptr(), factors.as_ptr());
    // As many rows as the registers hold: AVX-512 has 32 of them, AVX2 16.
    let at_once = if L::COUNT == 16 { 8 } else { 6 };
    let mut first = 0;
    for rows in rows.values().chunks(at_once) {
        // SAFETY: each row and each term is at most its maximum, so their sum is in the source. The factors have `width`
        // numbers for each term, and the result has `width` numbers for each row, as checked above; so has the start, whose
        // step is either 0 or that of the result.
        unsafe {
            let (start, to) = (start.add(first * start_step), to.add(first * width));
            let numbers = Numbers {
                source,
                factors,
                start,
                start_step,
                to,
            };
            let terms = terms.values();
            match rows.len() {
                1 => numbers.write::<L, 1, V>(lanes, rows, terms),
                2 => numbers.write::<L, 2, V>(lanes, rows, terms),
                3 => numbers.write::<L, 3, V>(lanes, rows, terms),
                4 => numbers.write::<L, 4, V>(lanes, rows, terms),
                5 => numbers.write::<L, 5, V>(lanes, rows, terms),
                6 => numbers.write::<L, 6, V>(lanes, rows, terms),
                7 => numbers.write::<L, 7, V>(lanes, rows, terms),
                _ => numbers.write::<L, 8, V>(lanes, rows, terms),
            }
        }
        first += rows.len();
    }
}

/// The numbers of a few rows.
#[derive(Clone, Copy)]
struct Numbers {
    source: *const f32,
    factors: *const f32,
    start: *const f32,
    start_step: usize,
    to: *mut f32,
}

impl Numbers {
    /// Sums `R` rows of `V` vectors in registers.
    ///
    /// # Safety
    /// There are at least `R` rows. `source` may be read at the sum of each row and each term; `factors` at `V` vectors for each
    /// term; `start` at `V` vectors for each row, `start_step` apart; `to` may be written at `V` vectors for each row.
    #[inline(always)]
    unsafe fn write<L: Lanes, const R: usize, const V: usize>(
        self,
        lanes: L,
        rows: &[usize],
        terms: &[usize],
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            let mut pointers = [self.source; R];
            for (pointer, row) in pointers.iter_mut().zip(rows) {
                *pointer = self.source.add(*row);
            }
            let mut sums = [[lanes.splat(0.0); V]; R];
            let mut factors = self.factors;
            for term in terms {
                let mut of_term = [lanes.splat(0.0); V];
                for (number, vector) in of_term.iter_mut().enumerate() {
                    *vector = lanes.load(factors.add(number * L::COUNT));
                }
                factors = factors.add(V * L::COUNT);
                for (sums, pointer) in sums.iter_mut().zip(pointers) {
                    let number = lanes.splat(*pointer.add(*term));
                    for (sum, factor) in sums.iter_mut().zip(of_term) {
                        *sum = lanes.mul_add(number, factor, *sum);
                    }
                }
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (number, sum) in sums.into_iter().enumerate() {
                    let start = self.start.add(row * self.start_step + number * L::COUNT);
                    let to = self.to.add((row * V + number) * L::COUNT);
                    lanes.store(to, lanes.add(sum, lanes.load(start)));
                }
            }
        }
    }
}
