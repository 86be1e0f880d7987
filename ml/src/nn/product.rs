//! Products of matrices in slices, on the calling thread. A result depends only on its two matrices, not on the number of
//! threads.

use std::ops::Range;

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

    /// Some of its columns, without a copy.
    ///
    /// # Panics
    /// If there are none, or if the matrix has not so many columns.
    pub(super) fn columns(self, range: Range<usize>) -> Self {
        check_columns(&range, self.columns);
        Self {
            values: &self.values[range.start * self.column_stride..],
            columns: range.len(),
            ..self
        }
    }
}

fn check_columns(range: &Range<usize>, columns: usize) {
    let is_part = !range.is_empty() && range.end <= columns;
    assert!(is_part, "the columns {range:?} of {columns}");
}

/// A matrix in a slice, as the result of a product.
#[derive(Debug)]
pub(super) struct MatrixMut<'a, T> {
    values: &'a mut [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a, T> MatrixMut<'a, T> {
    /// A matrix whose rows follow each other.
    ///
    /// # Panics
    /// If `values` has another length than the matrix.
    pub(super) fn new(values: &'a mut [T], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix of a slice");
        Self {
            values,
            rows,
            columns,
            row_stride: columns,
        }
    }

    /// Some of its columns. The others stay as they are.
    ///
    /// # Panics
    /// If there are none, or if the matrix has not so many columns.
    pub(super) fn columns(self, range: Range<usize>) -> Self {
        check_columns(&range, self.columns);
        Self {
            values: &mut self.values[range.start..],
            columns: range.len(),
            ..self
        }
    }
}

/// Writes `left` times `right` to `to`.
///
/// # Panics
/// If the sizes do not match.
pub(super) fn write_product<T: Float>(
    left: Matrix<'_, T>,
    right: Matrix<'_, T>,
    to: MatrixMut<'_, T>,
) {
    product(left, right, to, false);
}

/// Adds `left` times `right` to `to`.
///
/// # Panics
/// If the sizes do not match.
pub(super) fn add_product<T: Float>(
    left: Matrix<'_, T>,
    right: Matrix<'_, T>,
    to: MatrixMut<'_, T>,
) {
    product(left, right, to, true);
}

fn product<T: Float>(left: Matrix<'_, T>, right: Matrix<'_, T>, to: MatrixMut<'_, T>, adds: bool) {
    assert_eq!(left.columns, right.rows, "the inner sizes of a product");
    assert_eq!(
        (to.rows, to.columns),
        (left.rows, right.columns),
        "the size of a product's result"
    );
    let factor = if adds { T::one() } else { T::zero() };
    // SAFETY: `new` has checked that all elements of a matrix are in its slice; `transposed` and `columns` keep to these
    // elements. The result has the size of the product, as checked above; different rows and columns of it are different
    // elements, and its slice is borrowed exclusively. `Float` is only f32 and f64, which gemm knows.
    unsafe {
        gemm(
            left.rows,
            right.columns,
            left.columns,
            to.values.as_mut_ptr(),
            1,
            to.row_stride as isize,
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
        write_product(a, b, MatrixMut::new(&mut to, 2, 2));
        assert_eq!(to, [0.5, 13.0, 2.0, 28.0]);
        add_product(a, b, MatrixMut::new(&mut to, 2, 2));
        assert_eq!(to, [1.0, 26.0, 4.0, 56.0]);
        let mut transposed = [0.0; 4];
        let place = MatrixMut::new(&mut transposed, 2, 2);
        write_product(b.transposed(), a.transposed(), place);
        assert_eq!(transposed, [0.5, 2.0, 13.0, 28.0]);
        let mut outer = [0.0; 9];
        write_product(b, a, MatrixMut::new(&mut outer, 3, 3));
        assert_eq!(outer, [1.0, 2.0, 3.0, 7.0, 8.0, 9.0, 12.5, 16.0, 19.5]);
    }

    #[test]
    fn products_of_some_columns_leave_the_others() {
        let (left, right) = (
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            [1.0, 0.0, -1.0, 2.0, 0.5, 3.0],
        );
        let (a, b) = (Matrix::new(&left, 2, 3), Matrix::new(&right, 3, 2));
        let mut to = [9.0f64; 6];
        // The last two columns of `a`, times the last two rows of `b`.
        let (some, of_rows) = (a.columns(1..3), b.transposed().columns(1..3).transposed());
        let place = MatrixMut::new(&mut to, 2, 3).columns(1..3);
        write_product(some, of_rows, place);
        assert_eq!(to, [9.0, -0.5, 13.0, 9.0, -2.0, 28.0]);
        // The first column of `a`, times the first element of `b`.
        let element = b.transposed().columns(0..1).transposed().columns(0..1);
        let place = MatrixMut::new(&mut to, 2, 3).columns(0..1);
        add_product(a.columns(0..1), element, place);
        assert_eq!(to, [10.0, -0.5, 13.0, 13.0, -2.0, 28.0]);
    }
}
