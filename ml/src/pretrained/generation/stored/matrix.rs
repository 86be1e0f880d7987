//! [`Matrix`]: a matrix of weights in the bytes of a file, and the products of vectors with its rows.

use super::content::Content;
use super::element::{Element, decode};
use super::products::{Places, write_products};
use crate::{Result, stop};

/// The rows that become f32 at once: few enough for the cache next to the processor.
const ROWS_AT_ONCE: usize = 16;

/// A matrix `[outputs, inputs]`.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    content: Content,
    /// Where it begins in the file.
    start: usize,
    element: Element,
    outputs: usize,
    inputs: usize,
    row_bytes: usize,
}

/// Where the outputs of a matrix go: to the columns from `first`, of rows with `all` columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) first: usize,
    pub(crate) all: usize,
}

impl Matrix {
    /// The matrix `[outputs, inputs]` in the file from `start`; `None` if its rows are no whole blocks, or not in the file.
    pub(super) fn new(
        content: &Content,
        start: usize,
        element: Element,
        [outputs, inputs]: [usize; 2],
    ) -> Option<Self> {
        let row_bytes = element.bytes(inputs)?;
        let end = outputs.checked_mul(row_bytes)?.checked_add(start)?;
        (end <= content.all().len()).then(|| Self {
            content: content.clone(),
            start,
            element,
            outputs,
            inputs,
            row_bytes,
        })
    }

    /// The number of rows.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The number of columns.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Writes `count` rows from `first` to `to`.
    pub(crate) fn write_rows(&self, first: usize, count: usize, to: &mut [f32]) {
        let start = self.start + first * self.row_bytes;
        let bytes = self.content.bytes(start..start + count * self.row_bytes);
        decode(self.element, bytes, to);
    }

    /// Writes the products of each vector of `x` `[rows, inputs]` with each row to `y` `[rows, columns.all]`.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    pub(crate) fn product(&self, x: &[f32], y: &mut [f32], columns: Columns) -> Result<()> {
        if x.is_empty() {
            // No text ends with this piece, so none needs the scores.
            return Ok(());
        }
        self.in_pieces(|first, weights| {
            let places = Places {
                inputs: self.inputs,
                first: columns.first + first,
                count: weights.len() / self.inputs,
                columns: columns.all,
            };
            write_products(x, weights, y, places);
            true
        })
        .map(drop)
    }

    /// Whether all numbers are finite.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    pub(super) fn is_finite(&self) -> Result<bool> {
        self.in_pieces(|_, weights| weights.iter().all(|weight| weight.is_finite()))
    }

    /// Calls `work` with some rows after the other and the number of their first, until it returns false. Whether it always
    /// returned true.
    fn in_pieces(&self, mut work: impl FnMut(usize, &[f32]) -> bool) -> Result<bool> {
        let mut rows = vec![0.0; ROWS_AT_ONCE.min(self.outputs) * self.inputs];
        for first in (0..self.outputs).step_by(ROWS_AT_ONCE) {
            stop::check()?;
            let count = ROWS_AT_ONCE.min(self.outputs - first);
            let rows = &mut rows[..count * self.inputs];
            self.write_rows(first, count, rows);
            if !work(first, rows) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(numbers: &[f32], shape: [usize; 2]) -> Option<Matrix> {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
        let content = Content::new([9; 4].into_iter().chain(bytes).collect());
        Matrix::new(&content, 4, Element::F32, shape)
    }

    #[test]
    fn products_with_more_rows_than_are_read_at_once() {
        let numbers: Vec<f32> = (0..37 * 2).map(|number| number as f32).collect();
        let matrix = matrix(&numbers, [37, 2]).unwrap();
        let mut y = vec![0.0; 2 * 38];
        let columns = Columns { first: 1, all: 38 };
        matrix
            .product(&[1.0, 0.0, 1.0, -1.0], &mut y, columns)
            .unwrap();
        for output in 0..37 {
            assert_eq!(y[output + 1], 2.0 * output as f32);
            assert_eq!(y[38 + output + 1], -1.0);
        }
        let mut row = [0.0; 2];
        matrix.write_rows(20, 1, &mut row);
        assert_eq!(row, [40.0, 41.0]);
        assert!(matrix.is_finite().unwrap());
    }

    #[test]
    fn a_matrix_that_is_not_in_the_file_is_none() {
        assert!(matrix(&[1.0; 4], [2, 2]).is_some());
        assert!(matrix(&[1.0; 4], [5, 1]).is_none());
        assert!(matrix(&[1.0; 4], [usize::MAX, 2]).is_none());
        assert!(
            !matrix(&[1.0, f32::NAN], [2, 1])
                .unwrap()
                .is_finite()
                .unwrap()
        );
    }
}
