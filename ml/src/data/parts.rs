//! [`Parts`]: the numbers and categories of a column.

use arrow::array::StringArray;
use arrow::buffer::{NullBuffer, ScalarBuffer};

/// A column split into numbers and categories, before any learnt encoding is applied.
#[derive(Debug, Default)]
pub struct Parts {
    /// Row-major `[rows, width]`; undefined for a NULL row.
    pub numbers: ScalarBuffer<f64>,
    /// Numbers per row.
    pub width: usize,
    /// The categories of the column.
    pub categories: Vec<CategoryPart>,
    /// Which rows are not NULL.
    pub valid: Option<NullBuffer>,
    /// Rows that cannot be a feature, with the cause.
    pub failures: Vec<(usize, String)>,
}

impl Parts {
    /// Whether the row has a value.
    pub fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid.is_valid(row))
    }

    /// The same column of `rows` rows with these failures added.
    pub(crate) fn failing(mut self, failures: &[(usize, String)], rows: usize) -> Self {
        if !failures.is_empty() {
            let mut fits = vec![true; rows];
            failures.iter().for_each(|(row, _)| fits[*row] = false);
            let fits = NullBuffer::from(fits);
            self.failures.retain(|(row, _)| fits.is_valid(*row));
            self.failures.extend_from_slice(failures);
            self.valid = NullBuffer::union(self.valid.as_ref(), Some(&fits));
        }
        self
    }
}

/// One category of each row.
#[derive(Debug)]
pub enum CategoryPart {
    /// Values to look up in a vocabulary.
    Text(StringArray),
    /// Positions in a fixed vocabulary, the vocabulary, and the name of the part.
    Coded(Vec<u32>, &'static [&'static str], &'static str),
}
