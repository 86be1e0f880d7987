//! [`assembled`]: the outputs of a batch, put together from the calls of the model that computed its rows.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, new_null_array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::interleave;
use datafusion::common::Result;
use vatic_ml::data::inputs::RowReport;
use vatic_ml::model::Outputs;

use super::known::Part;
use super::spec::PredictSpec;

/// Where the outputs of a row are: a part, and the place in it.
pub(super) type Place = (Arc<Part>, usize);

/// The outputs of all rows, from the places of those that differ; a row without a place is refused because its text is long.
pub(super) fn assembled(
    spec: &PredictSpec,
    of_row: &[u32],
    places: &[Option<Place>],
    tokens_max: usize,
) -> Result<Outputs> {
    let mut sources = Sources::default();
    let refused = places.iter().any(Option::is_none).then(|| {
        let part = Arc::new(without_outputs(spec, tokens_max));
        sources.number(&part)
    });
    let number = |place: &Option<Place>| match place {
        Some((part, row)) => (sources.number(part), *row),
        None => (refused.unwrap_or_default(), 0),
    };
    let numbers: Vec<(usize, usize)> = places.iter().map(number).collect();
    let numbers: Vec<_> = of_row.iter().map(|row| numbers[*row as usize]).collect();
    let column = |output: usize| {
        let parts = sources.parts.iter();
        let arrays: Vec<&dyn Array> = parts.map(|part| part.column(output)).collect();
        interleave(&arrays, &numbers)
    };
    let outputs = 0..spec.appended.outputs.len();
    let columns = outputs.map(column).collect::<Result<_, _>>()?;
    Ok(Outputs {
        columns,
        scores: vec![],
        report: sources.report(&numbers),
    })
}

/// One row that is refused.
fn without_outputs(spec: &PredictSpec, tokens_max: usize) -> Part {
    let signature = &spec.model.manifest.signature;
    let outputs = spec.appended.outputs.iter();
    let columns = outputs.map(|output| new_null_array(&signature.outputs[*output].data_type, 1));
    let cause = format!(
        "its text is longer than the {tokens_max} tokens that the model takes; truncate => true leaves its end out"
    );
    let report = RowReport {
        valid: Some(NullBuffer::new_null(1)),
        failures: vec![(0, cause)],
        ..RowReport::default()
    };
    Part::new(columns.collect(), report)
}

/// The parts in which the rows of a batch are.
#[derive(Default)]
struct Sources {
    parts: Vec<Arc<Part>>,
    /// The number of each, by its address.
    numbers: HashMap<usize, usize>,
}

impl Sources {
    fn number(&mut self, part: &Arc<Part>) -> usize {
        let next = self.parts.len();
        let number = *self.numbers.entry(Arc::as_ptr(part).addr()).or_insert(next);
        if number == next {
            self.parts.push(Arc::clone(part));
        }
        number
    }

    /// The report of rows at these places: the number of a part, and the place in it.
    fn report(&self, places: &[(usize, usize)]) -> RowReport {
        let mut report = RowReport::default();
        let mut valid = Vec::with_capacity(places.len());
        for (row, (number, at)) in places.iter().enumerate() {
            let part = &self.parts[*number];
            let is_valid = part.is_valid(*at);
            valid.push(is_valid);
            match part.cause(*at) {
                Some(cause) => report.failures.push((row, cause.to_owned())),
                None if !is_valid && report.null_column.is_none() => {
                    report.null_column = part.null_column().map(str::to_owned);
                }
                None => {}
            }
        }
        let valid = NullBuffer::from(valid);
        report.valid = Some(valid).filter(|valid| valid.null_count() > 0);
        report
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Int64Array;

    use super::*;

    #[test]
    fn a_report_follows_its_rows() {
        let part = |failures: Vec<(usize, String)>, valid: Vec<bool>| {
            let column = Int64Array::from(vec![0; valid.len()]);
            let report = RowReport {
                valid: Some(NullBuffer::from(valid)),
                failures,
                null_column: Some("x".into()),
                unseen: 3,
            };
            Arc::new(Part::new(vec![Arc::new(column)], report))
        };
        let first = part(vec![(1, "broken".into())], vec![true, false, false]);
        let second = part(vec![], vec![true]);
        let mut sources = Sources::default();
        assert_eq!(
            [&first, &second, &first].map(|part| sources.number(part)),
            [0, 1, 0]
        );
        let report = sources.report(&[(1, 0), (0, 1), (0, 0), (0, 1), (0, 2)]);
        let broken = |row| (row, "broken".to_owned());
        assert_eq!(report.failures, [broken(1), broken(3)]);
        assert_eq!(report.null_rows(), 1);
        assert_eq!(report.null_column.as_deref(), Some("x"));
        let report = sources.report(&[(1, 0), (0, 0)]);
        assert_eq!(report, RowReport::default());
    }
}
