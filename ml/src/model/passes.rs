//! [`in_passes`]: computes some rows after the other, so that the numbers between layers fit into memory.

use std::ops::Range;

use candle_core::Tensor;

use crate::{Result, stop};

/// The outputs of so many rows, of which `at_once` are computed at once: `pass` gives the outputs of a range of rows. Without
/// rows there is no pass, and no output.
///
/// # Errors
/// Those of `pass`; [`Error::Cancelled`](crate::Error::Cancelled).
pub(crate) fn in_passes(
    rows: usize,
    at_once: usize,
    pass: impl Fn(Range<usize>) -> Result<Vec<Tensor>>,
) -> Result<Vec<Tensor>> {
    let starts = (0..rows).step_by(at_once);
    let ranges = starts.map(|start| start..rows.min(start + at_once));
    in_passes_of(ranges, pass)
}

/// [`in_passes`] over these ranges of rows, which follow each other.
///
/// # Errors
/// Those of `pass`; [`Error::Cancelled`](crate::Error::Cancelled).
pub(crate) fn in_passes_of(
    ranges: impl IntoIterator<Item = Range<usize>>,
    pass: impl Fn(Range<usize>) -> Result<Vec<Tensor>>,
) -> Result<Vec<Tensor>> {
    let passes = ranges.into_iter().map(|range| {
        stop::check()?;
        pass(range)
    });
    let mut passes = passes.collect::<Result<Vec<Vec<Tensor>>>>()?;
    if passes.len() < 2 {
        return Ok(passes.pop().unwrap_or_default());
    }
    let outputs = (0..passes[0].len()).map(|output| {
        let parts: Vec<&Tensor> = passes.iter().map(|pass| &pass[output]).collect();
        Ok(Tensor::cat(&parts, 0)?)
    });
    outputs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::HOST;

    #[test]
    fn passes_are_put_together_output_by_output() {
        let outputs = |rows: usize| {
            in_passes(rows, 2, |range| {
                let rows: Vec<u32> = range.map(|row| row as u32).collect();
                let count = rows.len();
                let rows = Tensor::from_vec(rows, count, &HOST)?;
                Ok(vec![(&rows + &rows)?, rows])
            })
        };
        for count in [1, 2, 5] {
            let [twice, rows]: [Tensor; 2] = outputs(count).unwrap().try_into().unwrap();
            let expected: Vec<u32> = (0..count as u32).collect();
            assert_eq!(rows.to_vec1::<u32>().unwrap(), expected);
            let expected: Vec<u32> = expected.iter().map(|row| 2 * row).collect();
            assert_eq!(twice.to_vec1::<u32>().unwrap(), expected);
        }
        assert!(outputs(0).unwrap().is_empty());
    }
}
