//! [`Assessment`]: the accumulated predictions and labels of one target. It takes rows batch by batch, and merges with
//! assessments of other batches, partitions and ranks, in any order.

use arrow::array::{Array, ArrayRef};
use arrow::buffer::NullBuffer;

use super::classified::Classified;
use super::metric::Metric;
use super::regressed::Regressed;
use super::tagged::Tagged;
use super::vectors::Vectors;
use crate::bytes::{Reader, Writer};
use crate::data::apart::parts;
use crate::data::inputs::RowReport;
use crate::data::labels::{LabelForm, class_position, class_values, numbers};
use crate::data::signature::Label;
use crate::data::targets::sets;
use crate::{Error, Result};

/// The predictions and labels of some rows, accumulated for metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// Rows left out for a NULL in a feature or the label.
    pub null_rows: u64,
    /// The predictions of the other rows.
    pub predictions: Predictions,
}

/// The accumulated predictions and labels.
#[derive(Debug, Clone, PartialEq)]
pub enum Predictions {
    /// Of classes.
    Classes(Classified),
    /// Of numbers.
    Numbers(Regressed),
    /// Of lists of numbers.
    Vectors(Vectors),
    /// Of sets of labels.
    Sets(Tagged),
}

/// The kinds of predictions in messages.
const NUMBERS: u64 = 0;
const CLASSES: u64 = 1;
const VECTORS: u64 = 2;
const SETS: u64 = 3;

impl Assessment {
    /// An empty assessment of labels of this form.
    pub fn new(form: LabelForm) -> Self {
        Self {
            null_rows: 0,
            predictions: match form {
                LabelForm::Number => Predictions::Numbers(Regressed::default()),
                LabelForm::Vector(length) => Predictions::Vectors(Vectors::new(length)),
                LabelForm::Class(classes) => Predictions::Classes(Classified::new(classes)),
                LabelForm::Set(labels) => Predictions::Sets(Tagged::new(labels)),
            },
        }
    }

    /// Counts the rows of a batch: the label of each row, and the scores of a model that predicts `label`. The report is that
    /// of the model.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a label is none that the model could predict.
    pub(super) fn add(
        &mut self,
        label: &Label<'_>,
        column: &ArrayRef,
        scores: &[f64],
        report: &RowReport,
    ) -> Result<()> {
        let width = label.form().scores();
        // The rows that have an output and a label.
        let rows_of = |labels: Option<NullBuffer>| -> Vec<usize> {
            let valid = NullBuffer::union(report.valid.as_ref(), labels.as_ref());
            let is_valid = |row: &usize| valid.as_ref().is_none_or(|valid| valid.is_valid(*row));
            (0..column.len()).filter(is_valid).collect()
        };
        let of_rows = |values: &[f64], rows: &[usize]| -> Vec<f64> {
            let of_rows = rows.iter().map(|row| &values[row * width..][..width]);
            of_rows.collect::<Vec<_>>().concat()
        };
        let rows = match &mut self.predictions {
            Predictions::Numbers(regressed) => {
                let rows = rows_of(column.logical_nulls());
                let labels = numbers(column)?;
                let labels = rows.iter().map(|&row| labels.value(row));
                regressed.add(labels, &of_rows(scores, &rows));
                rows
            }
            Predictions::Vectors(vectors) => {
                let parts = parts(&label.target.name, column, Some(width))?;
                if let Some((_, cause)) = parts.failures.first() {
                    return Err(Error::Invalid(cause.clone()));
                }
                let rows = rows_of(parts.valid);
                vectors.add(&of_rows(&parts.numbers, &rows), &of_rows(scores, &rows));
                rows
            }
            Predictions::Classes(classified) => {
                let rows = rows_of(column.logical_nulls());
                let labels = class_values(column)?;
                let position = |row: &usize| {
                    let value = labels[*row].as_ref();
                    value.and_then(|value| class_position(label.classes, value))
                };
                let positions: Vec<Option<u32>> = rows.iter().map(position).collect();
                classified.add(&positions, &of_rows(scores, &rows));
                rows
            }
            Predictions::Sets(tagged) => {
                let sets = sets(column)?;
                let rows = rows_of(Some(sets.iter().map(Option::is_some).collect()));
                for &row in &rows {
                    let set = sets[row].as_deref().unwrap_or_default();
                    let applies = label.classes.iter();
                    let applies = applies.map(|class| set.binary_search(class).is_ok());
                    let applies: Vec<bool> = applies.collect();
                    let others = applies.iter().filter(|applies| **applies).count() < set.len();
                    tagged.add(&applies, &scores[row * width..][..width], others);
                }
                rows
            }
        };
        self.null_rows += (column.len() - rows.len()) as u64;
        Ok(())
    }

    /// Adds the rows of another assessment of the same target.
    ///
    /// # Errors
    /// [`Error::Internal`] if the other assessment is of another target.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        self.null_rows += other.null_rows;
        match (&mut self.predictions, other.predictions) {
            (Predictions::Classes(ours), Predictions::Classes(theirs))
                if ours.classes == theirs.classes =>
            {
                ours.merge(theirs);
            }
            (Predictions::Numbers(ours), Predictions::Numbers(theirs)) => ours.merge(theirs),
            (Predictions::Vectors(ours), Predictions::Vectors(theirs))
                if ours.length() == theirs.length() =>
            {
                ours.merge(theirs);
            }
            (Predictions::Sets(ours), Predictions::Sets(theirs))
                if ours.labels() == theirs.labels() =>
            {
                ours.merge(&theirs);
            }
            (
                Predictions::Classes(_)
                | Predictions::Numbers(_)
                | Predictions::Vectors(_)
                | Predictions::Sets(_),
                _,
            ) => {
                let message = "assessments of different models cannot be merged";
                return Err(Error::Internal(message.into()));
            }
        }
        Ok(())
    }

    /// The metrics, in the order of [`CLASSIFIER_METRICS`](super::CLASSIFIER_METRICS),
    /// [`REGRESSOR_METRICS`](super::REGRESSOR_METRICS) or [`SET_METRICS`](super::SET_METRICS).
    pub fn metrics(&self) -> Vec<Metric> {
        match &self.predictions {
            Predictions::Classes(classified) => classified.metrics(),
            Predictions::Numbers(regressed) => regressed.metrics(),
            Predictions::Vectors(vectors) => vectors.metrics(),
            Predictions::Sets(tagged) => tagged.metrics(),
        }
    }

    /// Memory of the assessment in bytes.
    pub fn bytes(&self) -> usize {
        match &self.predictions {
            Predictions::Classes(classified) => classified.bytes(),
            Predictions::Numbers(regressed) => regressed.bytes(),
            Predictions::Vectors(vectors) => vectors.bytes(),
            Predictions::Sets(tagged) => tagged.bytes(),
        }
    }

    /// The number of rows that are counted.
    pub fn rows(&self) -> u64 {
        match &self.predictions {
            Predictions::Classes(classified) => classified.rows(),
            Predictions::Numbers(regressed) => regressed.sums.rows,
            Predictions::Vectors(vectors) => vectors.rows(),
            Predictions::Sets(tagged) => tagged.rows(),
        }
    }

    /// Writes the assessment, for another process.
    pub(super) fn write(&self, bytes: &mut Writer) {
        bytes.count(self.null_rows);
        match &self.predictions {
            Predictions::Classes(classified) => {
                bytes.count(CLASSES);
                bytes.count(classified.classes as u64);
                classified.write(bytes);
            }
            Predictions::Numbers(regressed) => {
                bytes.count(NUMBERS);
                regressed.write(bytes);
            }
            Predictions::Vectors(vectors) => {
                bytes.count(VECTORS);
                bytes.count(vectors.length() as u64);
                vectors.write(bytes);
            }
            Predictions::Sets(tagged) => {
                bytes.count(SETS);
                bytes.count(tagged.labels() as u64);
                tagged.write(bytes);
            }
        }
    }

    /// Reads what [`Assessment::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Internal`] if the bytes are malformed.
    pub(super) fn read(bytes: &mut Reader<'_>) -> Result<Self> {
        let null_rows = bytes.count()?;
        let predictions = match bytes.count()? {
            NUMBERS => Predictions::Numbers(Regressed::read(bytes, 1)?),
            CLASSES => {
                let classes = bytes.count()? as usize;
                Predictions::Classes(Classified::read(bytes, classes)?)
            }
            VECTORS => {
                let length = bytes.count()? as usize;
                Predictions::Vectors(Vectors::read(bytes, length)?)
            }
            SETS => {
                let labels = bytes.count()? as usize;
                Predictions::Sets(Tagged::read(bytes, labels)?)
            }
            other => {
                let message = format!("message of a worker: predictions of kind {other}");
                return Err(Error::Internal(message));
            }
        };
        Ok(Self {
            null_rows,
            predictions,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(metrics: &[Metric], name: &str) -> f64 {
        metrics
            .iter()
            .find(|metric| metric.name == name)
            .and_then(|metric| metric.value)
            .unwrap()
    }

    /// Expected values: scikit-learn 1.7, `zero_division=0`.
    #[test]
    fn classifier_metrics_agree_with_scikit_learn() {
        let probabilities = [0.1, 0.6, 0.8, 0.6, 0.4].map(|p| [1.0 - p, p]);
        let mut rows = Classified::new(2);
        rows.add(&[0, 0, 1, 1, 1].map(Some), probabilities.as_flattened());
        let metrics = rows.metrics();
        assert!((value(&metrics, "accuracy") - 0.6).abs() < 1e-12);
        assert!((value(&metrics, "precision") - 7.0 / 12.0).abs() < 1e-12);
        assert!((value(&metrics, "recall") - 7.0 / 12.0).abs() < 1e-12);
        assert!((value(&metrics, "f1") - 7.0 / 12.0).abs() < 1e-12);
        // Of the six pairs, one is tied (0.6, 0.6) and one is wrong (0.4 below 0.6).
        assert!((value(&metrics, "roc_auc") - 4.5 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn regressor_metrics_agree_with_their_definitions() {
        let mut rows = Regressed::default();
        rows.add([3.0, -0.5, 2.0, 7.0], &[2.5, 0.0, 2.0, 8.0]);
        let metrics = rows.metrics();
        assert!((value(&metrics, "mae") - 0.5).abs() < 1e-12);
        assert!((value(&metrics, "mse") - 0.375).abs() < 1e-12);
        assert!((value(&metrics, "r2") - 0.948_608_137_044_967_9).abs() < 1e-12);
        assert!((value(&metrics, "median_absolute_error") - 0.5).abs() < 1e-12);
        assert!((value(&metrics, "explained_variance") - 0.957_173_447_537_473_2).abs() < 1e-12);
    }

    #[test]
    fn no_rows_have_no_metrics() {
        for form in [
            LabelForm::Number,
            LabelForm::Class(3),
            LabelForm::Vector(2),
            LabelForm::Set(2),
        ] {
            let metrics = Assessment::new(form).metrics();
            assert!(metrics.iter().all(|metric| metric.value.is_none()));
        }
    }

    fn of(predictions: Predictions) -> Assessment {
        Assessment {
            null_rows: 3,
            predictions,
        }
    }

    fn to_bytes(assessment: &Assessment) -> Vec<u8> {
        let mut bytes = Writer::default();
        assessment.write(&mut bytes);
        bytes.0
    }

    fn from_bytes(bytes: &[u8]) -> Result<Assessment> {
        Assessment::read(&mut Reader(bytes))
    }

    /// Rows of three classes; the model does not know the labels of some rows.
    fn classified(rows: std::ops::Range<u32>) -> Classified {
        let mut classified = Classified::new(3);
        for row in rows {
            let label = (row % 7 != 0).then_some(row % 3);
            let first = f64::from(row * 37 % 101) / 101.0;
            let second = (1.0 - first) * f64::from(row * 53 % 89) / 89.0;
            classified.add(&[label], &[first, second, 1.0 - first - second]);
        }
        classified
    }

    #[test]
    fn parts_merge_to_the_whole_and_survive_as_bytes() {
        let whole = classified(0..500);
        let mut merged = of(Predictions::Classes(classified(300..500)));
        merged
            .merge(of(Predictions::Classes(classified(0..300))))
            .unwrap();
        for other in [LabelForm::Number, LabelForm::Class(2), LabelForm::Vector(3)] {
            assert!(merged.clone().merge(Assessment::new(other)).is_err());
        }
        assert_eq!(merged.metrics(), whole.metrics());
        assert_eq!((merged.rows(), whole.unseen()), (500, 72));
        assert_eq!(from_bytes(&to_bytes(&merged)).unwrap(), merged);

        let mut regressed = Regressed::default();
        regressed.add((0..99).map(|n| f64::from(n) * 0.7), &[20.0; 99]);
        let regressed = of(Predictions::Numbers(regressed));
        let bytes = to_bytes(&regressed);
        assert_eq!(from_bytes(&bytes).unwrap(), regressed);
        assert!(from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn many_classes_take_little_memory() {
        let classes = 1_000;
        let part = |first: u32| {
            let mut part = Classified::new(classes);
            for row in first..first + 5_000 {
                let scores = (0..1_000u32).map(|class| f64::from(class * row % 997 + 1));
                let mut scores: Vec<f64> = scores.collect();
                let sum: f64 = scores.iter().sum();
                scores.iter_mut().for_each(|score| *score /= sum);
                part.add(&[Some(row % 1_000)], &scores);
            }
            part
        };
        let mut all = of(Predictions::Classes(part(0)));
        all.merge(of(Predictions::Classes(part(5_000)))).unwrap();
        // 10,000 rows have 10,000,000 scores, of which 4,194,304 may be exact.
        assert!(all.bytes() < 64 << 20, "{} bytes", all.bytes());
        assert!(to_bytes(&all).len() < 64 << 20);
        assert_eq!(all.rows(), 10_000);
    }

    #[test]
    fn many_scores_are_rounded_however_they_come() {
        let mut parts = classified(0..400);
        parts.round();
        let mut whole = classified(0..700);
        let exact = whole.metrics();
        parts.merge(classified(400..700));
        whole.round();
        let written = of(Predictions::Classes(parts.clone()));
        assert_eq!(from_bytes(&to_bytes(&written)).unwrap(), written);
        assert_eq!(parts.metrics(), whole.metrics());
        let error = value(&exact, "roc_auc") - value(&whole.metrics(), "roc_auc");
        assert!(error.abs() < 1e-3, "{error}");
    }
}
