//! [`Tagged`]: the predictions and labels of a model that predicts sets of labels.

use vatic_metrics::{LabelSets, LogLoss};

use super::metric::{Metric, SET_METRICS, named};
use crate::Result;
use crate::bytes::{Reader, Writer};

/// The probability from which a label is predicted in metrics.
const THRESHOLD: f64 = 0.5;

/// The accumulated predictions and labels of a model that predicts sets of labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Tagged {
    sets: LabelSets,
    log_loss: LogLoss,
    unseen: u64,
}

impl Tagged {
    /// An accumulator for sets of so many labels.
    pub(super) fn new(labels: usize) -> Self {
        Self {
            sets: LabelSets::new(labels),
            log_loss: LogLoss::default(),
            unseen: 0,
        }
    }

    /// Counts a row: whether each label applies, and its probability. With `others`, the row has labels that the model does not
    /// know.
    pub fn add(&mut self, applies: &[bool], probabilities: &[f64], others: bool) {
        let pairs = applies.iter().zip(probabilities);
        for (&applies, &probability) in pairs.clone() {
            self.log_loss.add(match applies {
                true => probability,
                false => 1.0 - probability,
            });
        }
        let predicted = pairs.map(|(&applies, &probability)| (applies, probability >= THRESHOLD));
        self.sets.add(predicted, others);
        self.unseen += u64::from(others);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.sets.merge(&other.sets);
        self.log_loss.merge(&other.log_loss);
        self.unseen += other.unseen;
    }

    /// The number of labels.
    pub(super) fn labels(&self) -> usize {
        self.sets.labels.len()
    }

    pub(super) fn rows(&self) -> u64 {
        self.sets.rows
    }

    /// The number of rows with a label that the model does not know.
    pub fn unseen(&self) -> u64 {
        self.unseen
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.sets.labels.as_slice()) + self.log_loss.sum.bytes()
    }

    /// Precision, recall and f1 are means over the labels, and `log_loss` the mean over rows and labels.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        let scores = self.sets.macro_scores();
        let values = [
            self.sets.accuracy(),
            scores.map(|scores| scores.precision),
            scores.map(|scores| scores.recall),
            scores.map(|scores| scores.f1),
            self.sets.micro_scores().map(|scores| scores.f1),
            self.sets.hamming_loss(),
            self.log_loss.value(),
        ];
        named(SET_METRICS, &values)
    }

    pub(super) fn write(&self, bytes: &mut Writer) {
        let LabelSets {
            rows,
            matches,
            labels,
        } = &self.sets;
        [*rows, *matches, self.unseen]
            .into_iter()
            .for_each(|count| bytes.count(count));
        for label in labels {
            [label.hits, label.labelled, label.predicted]
                .into_iter()
                .for_each(|count| bytes.count(count));
        }
        bytes.count(self.log_loss.rows);
        bytes.block(&self.log_loss.sum.to_bytes());
    }

    pub(super) fn read(bytes: &mut Reader<'_>, labels: usize) -> Result<Self> {
        let mut read = Self::new(labels);
        read.sets.rows = bytes.count()?;
        read.sets.matches = bytes.count()?;
        read.unseen = bytes.count()?;
        for label in &mut read.sets.labels {
            label.hits = bytes.count()?;
            label.labelled = bytes.count()?;
            label.predicted = bytes.count()?;
        }
        read.log_loss.rows = bytes.count()?;
        read.log_loss.sum = bytes.sum()?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(rows: std::ops::Range<u32>) -> Tagged {
        let mut tagged = Tagged::new(2);
        for row in rows {
            let probability = f64::from(row % 10) / 10.0;
            let applies = [row % 3 == 0, row % 4 == 0];
            tagged.add(&applies, &[probability, 1.0 - probability], row % 7 == 0);
        }
        tagged
    }

    #[test]
    fn parts_merge_to_the_whole_and_survive_as_bytes() {
        let mut merged = tagged(30..100);
        merged.merge(&tagged(0..30));
        assert_eq!(merged, tagged(0..100));
        assert_eq!((merged.rows(), merged.unseen()), (100, 15));
        let mut bytes = Writer::default();
        merged.write(&mut bytes);
        assert_eq!(Tagged::read(&mut Reader(&bytes.0), 2).unwrap(), merged);
        let cut = &bytes.0[..bytes.0.len() - 1];
        assert!(Tagged::read(&mut Reader(cut), 2).is_err());
    }

    /// Expected value: PyTorch's `BCELoss`.
    #[test]
    fn the_log_loss_is_the_mean_over_rows_and_labels() {
        let mut rows = Tagged::new(2);
        rows.add(&[true, false], &[0.9, 0.2], false);
        rows.add(&[false, false], &[0.4, 0.5], false);
        let metrics = rows.metrics();
        let value = |name: &str| {
            let found = metrics.iter().find(|metric| metric.name == name);
            found.and_then(|metric| metric.value).unwrap()
        };
        let expected = 0.383_119_217_824_493;
        assert!(
            (value("log_loss") - expected).abs() < 1e-12,
            "{}",
            value("log_loss")
        );
        // A probability of exactly the threshold is predicted.
        assert_eq!((value("accuracy"), value("hamming_loss")), (0.5, 0.25));
        let none = Tagged::new(2).metrics();
        assert!(none.iter().all(|metric| metric.value.is_none()));
    }
}
