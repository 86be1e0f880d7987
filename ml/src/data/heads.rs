//! The columns of each target among the numbers of a row: its outputs among those of a network, its label among labels.
//!
//! ```text
//! outputs of a row:  │ a: 1 │ b: a logit for each of 3 classes │ c: 7 │
//! ```

use std::borrow::Cow;
use std::ops::Range;

/// The columns of each target, from the number of its columns.
pub(crate) fn ranges(
    widths: impl IntoIterator<Item = usize>,
) -> impl Iterator<Item = Range<usize>> {
    let mut end = 0;
    widths.into_iter().map(move |width| {
        let start = end;
        end += width;
        start..end
    })
}

/// These columns of row-major `values` with `width` columns.
pub(crate) fn columns(values: &[f64], width: usize, range: Range<usize>) -> Cow<'_, [f64]> {
    if range == (0..width) {
        return Cow::Borrowed(values);
    }
    let rows = values.chunks_exact(width.max(1));
    let of_rows = rows.flat_map(|row| row[range.clone()].iter().copied());
    Cow::Owned(of_rows.collect())
}

/// The columns of all targets side by side, row-major; each has its own number of columns of `rows` rows.
pub(crate) fn joined(mut targets: Vec<Vec<f64>>, rows: usize) -> Vec<f64> {
    if targets.len() == 1 {
        return targets.remove(0);
    }
    let mut joined = Vec::with_capacity(targets.iter().map(Vec::len).sum());
    for row in 0..rows {
        for values in &targets {
            let width = values.len() / rows;
            joined.extend_from_slice(&values[row * width..][..width]);
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_apart_as_they_were_joined() {
        let targets = vec![vec![1.0, 2.0], vec![], vec![3.0, 4.0, 5.0, 6.0]];
        let all = joined(targets.clone(), 2);
        assert_eq!(all, [1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
        let found: Vec<Range<usize>> = ranges([1, 0, 2]).collect();
        assert_eq!(found, [0..1, 1..1, 1..3]);
        for (range, expected) in found.into_iter().zip(targets) {
            assert_eq!(*columns(&all, 3, range), *expected);
        }
        assert!(matches!(columns(&all, 3, 0..3), Cow::Borrowed(_)));
        assert_eq!(joined(vec![vec![7.0, 8.0]], 1), [7.0, 8.0]);
    }
}
