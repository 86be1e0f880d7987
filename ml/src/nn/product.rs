//! Products of matrices in slices, on the calling thread. A result depends only on its two matrices, not on the number of
//! threads.

use gemm::{Parallelism, gemm};

use super::values::Float;

/// A matrix whose elements lie in a slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A matrix whose rows follow each other.
    ///
    /// # Panics
    /// If `values` has another length than the matrix.
    pub(super) fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix of a slice");
        Self {
            values,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// The matrix with rows and columns exchanged, without a copy.
    pub(super) fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// Writes `left` times `right` to `to`, row after row.
///
/// # Panics
/// If the sizes do not match.
pub(super) fn write_product<T: Float>(left: Matrix<'_, T>, right: Matrix<'_, T>, to: &mut [T]) {
    product(left, right, to, false);
}

/// Adds `left` times `right` to `to`, row after row.
///
/// # Panics
/// If the sizes do not match.
pub(super) fn add_product<T: Float>(left: Matrix<'_, T>, right: Matrix<'_, T>, to: &mut [T]) {
    product(left, right, to, true);
}

fn product<T: Float>(left: Matrix<'_, T>, right: Matrix<'_, T>, to: &mut [T], adds: bool) {
    assert_eq!(left.columns, right.rows, "the inner sizes of a product");
    assert_eq!(
        to.len(),
        left.rows * right.columns,
        "the size of a product's result"
    );
    let factor = if adds { T::one() } else { T::zero() };
    // SAFETY: `Matrix::new` has checked that all elements of both matrices are in their slices, and the strides are those
    // of `Matrix::new` or of its transposed matrix. The result has as many elements as `to`, as checked above, and `to` is
    // borrowed exclusively. `Float` is only f32 and f64, which gemm knows.
    unsafe {
        gemm(
            left.rows,
            right.columns,
            left.columns,
            to.as_mut_ptr(),
            1,
            right.columns as isize,
            adds,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            factor,
            T::one(),
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_matrices_and_their_transposes() {
        let (left, right) = (
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            [1.0, 0.0, -1.0, 2.0, 0.5, 3.0],
        );
        let (a, b) = (Matrix::new(&left, 2, 3), Matrix::new(&right, 3, 2));
        let mut to = [9.0f64; 4];
        write_product(a, b, &mut to);
        assert_eq!(to, [0.5, 13.0, 2.0, 28.0]);
        add_product(a, b, &mut to);
        assert_eq!(to, [1.0, 26.0, 4.0, 56.0]);
        let mut transposed = [0.0; 4];
        write_product(b.transposed(), a.transposed(), &mut transposed);
        assert_eq!(transposed, [0.5, 2.0, 13.0, 28.0]);
        let mut outer = [0.0; 9];
        write_product(b, a, &mut outer);
        assert_eq!(outer, [1.0, 2.0, 3.0, 7.0, 8.0, 9.0, 12.5, 16.0, 19.5]);
    }
}
