//! Numbers that a model takes as ids: whole numbers from 0, such as tokens.

use crate::data::parts::Parts;

/// The rows with a number that is no id below `count`, with the cause.
pub(crate) fn rows_without_ids(column: &str, parts: &Parts, count: usize) -> Vec<(usize, String)> {
    let is_id = |number: f64| (0.0..count as f64).contains(&number) && number.fract() == 0.0;
    let rows = parts.numbers.chunks_exact(parts.width.max(1)).enumerate();
    let rows = rows.filter(|(row, _)| parts.is_valid(*row));
    let failures = rows.filter_map(|(row, numbers)| {
        let number = numbers.iter().find(|number| !is_id(**number))?;
        let last = count.saturating_sub(1);
        let cause = format!(
            "column \"{column}\" holds {number}, the model takes whole numbers from 0 to {last}"
        );
        Some((row, cause))
    });
    failures.collect()
}

#[cfg(test)]
mod tests {
    use arrow::buffer::NullBuffer;

    use super::*;

    #[test]
    fn ids_are_whole_numbers_below_the_count() {
        let numbers = vec![0.0, 4.0, 1.0, 5.0, 2.5, 1.0, f64::NAN, 1.0, -1.0, 9.0];
        let parts = Parts {
            numbers: numbers.into(),
            width: 2,
            valid: Some(NullBuffer::from(vec![true, true, true, true, false])),
            ..Parts::default()
        };
        let found = rows_without_ids("tokens", &parts, 5);
        let rows: Vec<usize> = found.iter().map(|(row, _)| *row).collect();
        assert_eq!(rows, [1, 2, 3]);
        let cause = "column \"tokens\" holds 5, the model takes whole numbers from 0 to 4";
        assert_eq!(found[0].1, cause);
        assert!(found[1].1.contains("holds 2.5,") && found[2].1.contains("holds NaN,"));
    }
}
