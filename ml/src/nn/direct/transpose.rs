//! The transpose of a small matrix, eight rows and columns at a time.

use std::arch::x86_64::{
    __m256, _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_storeu_ps,
    _mm256_unpackhi_ps, _mm256_unpacklo_ps,
};

use super::lanes::Lanes;

/// The rows and columns that are transposed in registers.
const SIDE: usize = 8;

/// A matrix in a slice whose rows are `step` apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) step: usize,
    /// Its rows and columns.
    pub(super) size: [usize; 2],
}

/// Writes the transpose of `from` to `to`, whose rows are `step` apart.
///
/// # Panics
/// If a slice is too short.
#[inline(always)]
pub(super) fn transpose<L: Lanes>(_lanes: L, from: Rows<'_>, to: &mut [f32], step: usize) {
    let [rows, columns] = from.size;
    if rows == 0 || columns == 0 {
        return;
    }
    let reads = (rows - 1) * from.step + columns;
    let writes = (columns - 1) * step + rows;
    assert!(reads <= from.values.len() && writes <= to.len());
    let (whole_rows, whole_columns) = (rows / SIDE * SIDE, columns / SIDE * SIDE);
    for row in (0..whole_rows).step_by(SIDE) {
        for column in (0..whole_columns).step_by(SIDE) {
            // SAFETY: the block is within the whole rows and columns of both matrices, which are in their slices as checked
            // above; `L` exists only on processors with AVX2.
            unsafe {
                let from_block = from.values.as_ptr().add(row * from.step + column);
                let to_block = to.as_mut_ptr().add(column * step + row);
                transpose_block(from_block, from.step, to_block, step);
            }
        }
    }
    let mut copy = |row: usize, column: usize| {
        to[column * step + row] = from.values[row * from.step + column];
    };
    for column in whole_columns..columns {
        (0..whole_rows).for_each(|row| copy(row, column));
    }
    for row in whole_rows..rows {
        (0..columns).for_each(|column| copy(row, column));
    }
}

/// Transposes eight rows of eight numbers.
///
/// # Safety
/// The processor has AVX2. At `from` eight rows of eight numbers may be read, `from_step` apart; at `to` they may be written,
/// `to_step` apart.
#[inline(always)]
unsafe fn transpose_block(from: *const f32, from_step: usize, to: *mut f32, to_step: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        let upper = four_rows(from, from_step);
        let lower = four_rows(from.add(4 * from_step), from_step);
        for (column, (upper, lower)) in upper.into_iter().zip(lower).enumerate() {
            let to = to.add(column * to_step);
            _mm256_storeu_ps(to, _mm256_permute2f128_ps::<0x20>(upper, lower));
            let to = to.add(4 * to_step);
            _mm256_storeu_ps(to, _mm256_permute2f128_ps::<0x31>(upper, lower));
        }
    }
}

/// Four rows of eight numbers as their columns 0 and 4, 1 and 5, 2 and 6, 3 and 7.
///
/// # Safety
/// The processor has AVX2. At `from` four rows of eight numbers may be read, `step` apart.
#[inline(always)]
unsafe fn four_rows(from: *const f32, step: usize) -> [__m256; 4] {
    // SAFETY: as the caller promises.
    unsafe {
        let a = _mm256_loadu_ps(from);
        let b = _mm256_loadu_ps(from.add(step));
        let c = _mm256_loadu_ps(from.add(2 * step));
        let d = _mm256_loadu_ps(from.add(3 * step));
        let (low_ab, high_ab) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (low_cd, high_cd) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0b01_00_01_00>(low_ab, low_cd),
            _mm256_shuffle_ps::<0b11_10_11_10>(low_ab, low_cd),
            _mm256_shuffle_ps::<0b01_00_01_00>(high_ab, high_cd),
            _mm256_shuffle_ps::<0b11_10_11_10>(high_ab, high_cd),
        ]
    }
}
