//! [`Vectors`]: the predictions and labels of a model that predicts lists of numbers.

use super::metric::{Metric, REGRESSOR_METRICS, named};
use super::regressed::Regressed;
use crate::Result;
use crate::bytes::{Reader, Writer};

/// The accumulated predictions and labels of a model that predicts lists of numbers: those of each element.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors(Vec<Regressed>);

impl Vectors {
    /// An accumulator for lists of so many numbers.
    pub(super) fn new(length: usize) -> Self {
        Self(vec![Regressed::of_elements(length); length])
    }

    /// Counts rows, row-major `[rows, elements]`.
    pub fn add(&mut self, labels: &[f64], predicted: &[f64]) {
        let width = self.0.len().max(1);
        let rows = labels
            .chunks_exact(width)
            .zip(predicted.chunks_exact(width));
        for (labels, predicted) in rows {
            let numbers = labels.iter().zip(predicted);
            for (element, (&label, &predicted)) in self.0.iter_mut().zip(numbers) {
                element.add_one(label, predicted);
            }
        }
        self.0.iter_mut().for_each(Regressed::bound);
    }

    pub(super) fn merge(&mut self, other: Self) {
        let elements = self.0.iter_mut().zip(other.0);
        elements.for_each(|(ours, theirs)| ours.merge(theirs));
    }

    /// The numbers of a row.
    pub(super) fn length(&self) -> usize {
        self.0.len()
    }

    pub(super) fn rows(&self) -> u64 {
        self.0.first().map_or(0, |element| element.sums.rows)
    }

    pub(super) fn bytes(&self) -> usize {
        let of_element = |element: &Regressed| {
            let sums = element.sums.sums().into_iter();
            let sums = sums.map(vatic_metrics::ExactSum::bytes).sum::<usize>();
            size_of::<Regressed>() + sums + element.bytes()
        };
        self.0.iter().map(of_element).sum()
    }

    /// The means over the elements for which a metric is defined, as scikit-learn's `multioutput='uniform_average'`.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        let elements: Vec<_> = self.0.iter().map(Regressed::values).collect();
        let mean = |metric: usize| {
            let values = elements.iter().filter_map(|values| values[metric]);
            let (sum, count) =
                values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
            (count > 0).then(|| sum / f64::from(count))
        };
        let values: Vec<_> = (0..REGRESSOR_METRICS.len()).map(mean).collect();
        named(REGRESSOR_METRICS, &values)
    }

    pub(super) fn write(&self, bytes: &mut Writer) {
        self.0.iter().for_each(|element| element.write(bytes));
    }

    pub(super) fn read(bytes: &mut Reader<'_>, length: usize) -> Result<Self> {
        let elements = (0..length).map(|_| Regressed::read(bytes, length));
        Ok(Self(elements.collect::<Result<_>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: scikit-learn 1.9 with `multioutput='uniform_average'`.
    #[test]
    fn metrics_are_means_over_the_elements() {
        let mut rows = Vectors::new(2);
        rows.add(&[0.5, 1.0, -1.0, 1.0], &[0.0, 2.0, -1.0, 2.0]);
        rows.add(&[7.0, -6.0], &[8.0, -5.0]);
        let expected = [
            0.75,
            0.708_333_333_333_333_4,
            0.822_748_612_183_951_3,
            0.936_800_526_662_277_9,
            0.75,
            0.983_870_967_741_935_5,
        ];
        for (metric, expected) in rows.metrics().iter().zip(expected) {
            let found = metric.value.unwrap();
            assert!((found - expected).abs() < 1e-12, "{}: {found}", metric.name);
        }
        assert_eq!((rows.rows(), rows.length()), (3, 2));
    }

    #[test]
    fn parts_merge_to_the_whole_and_survive_as_bytes() {
        let rows = |range: std::ops::Range<u32>| {
            let mut vectors = Vectors::new(3);
            let labels = range.flat_map(|row| [row, 2 * row, 7].map(f64::from));
            let labels: Vec<f64> = labels.collect();
            let predicted: Vec<f64> = labels.iter().map(|label| label * 0.9 + 1.0).collect();
            vectors.add(&labels, &predicted);
            vectors
        };
        let mut merged = rows(40..100);
        merged.merge(rows(0..40));
        assert_eq!(merged.metrics(), rows(0..100).metrics());
        let mut bytes = Writer::default();
        merged.write(&mut bytes);
        assert_eq!(Vectors::read(&mut Reader(&bytes.0), 3).unwrap(), merged);
        let cut = &bytes.0[..bytes.0.len() - 1];
        assert!(Vectors::read(&mut Reader(cut), 3).is_err());
        // The last element does not vary, so it has no r2.
        let r2 = merged.metrics()[3].value.unwrap();
        assert!(r2 > 0.9, "{r2}");
        let none = Vectors::new(3).metrics();
        assert!(none.iter().all(|metric| metric.value.is_none()));
    }
}
