//! [`inner_products`]: of each vector of one set and each of another, without a tensor around them.

use super::product::{Matrix, MatrixMut, write_product};

/// Writes the inner product of each vector in `left` and each in `right` to `to`: a row for each vector in `left`. The vectors lie
/// one after the other and have `width` numbers each. Runs on the calling thread.
///
/// # Panics
/// If `width` is 0 or the sizes do not match.
pub fn inner_products(left: &[f32], right: &[f32], width: usize, to: &mut [f32]) {
    let (rows, columns) = (left.len() / width, right.len() / width);
    let left = Matrix::new(left, rows, width);
    let right = Matrix::new(right, columns, width).transposed();
    write_product(left, right, MatrixMut::new(to, rows, columns));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vector_meets_each_of_the_other_set() {
        let (left, right) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.5, -1.0, 2.0, 2.0]);
        let mut products = [9.0; 6];
        inner_products(&left, &right, 2, &mut products);
        assert_eq!(products, [1.0, -1.5, 6.0, 3.0, -2.5, 14.0]);
    }
}
