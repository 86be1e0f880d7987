//! The metrics of a model, computed from predictions and labels. `vatic-metrics` defines each metric.
//!
//! An [`Assessment`] takes rows batch by batch, and merges with assessments of other batches, partitions and ranks, in
//! any order. Its memory is bounded: more than [`SCORES_MAX`] scores are rounded before they are ranked.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::NullBuffer;
use serde::{Deserialize, Serialize};
use vatic_metrics::{ClassCounts, Confusion, ExactSum, LogLoss, Median, Ranking, Regression};

use crate::bytes::{Reader, Writer};
use crate::data::labels::{ClassValue, class_position, class_values, numbers, predicted_classes};
use crate::model::Outputs;
use crate::{Error, Result};

/// A metric's name and value; `None` where the metric is not defined, such as accuracy over no rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The name in SQL.
    pub name: String,
    /// The value.
    pub value: Option<f64>,
}

/// The columns of `evaluate` for a classifier, in order.
pub const CLASSIFIER_METRICS: &[&str] = &[
    "accuracy",
    "precision",
    "recall",
    "f1",
    "log_loss",
    "roc_auc",
];
/// The columns of `evaluate` for a regressor, in order.
pub const REGRESSOR_METRICS: &[&str] = &[
    "mae",
    "mse",
    "rmse",
    "r2",
    "median_absolute_error",
    "explained_variance",
];

/// The most scores or errors that are kept exactly. With more, areas under curves and medians come from rounded numbers.
pub const SCORES_MAX: usize = 1 << 22;
/// Bits of rounded scores with one ranking. With several rankings, scores have fewer bits, for the same total memory.
const SCORE_BITS: u32 = 14;
const SCORE_BITS_MIN: u32 = 3;
/// The most exact scores between two roundings.
const UNROUNDED_MAX: usize = 1 << 16;

/// The predictions and labels of some rows, accumulated for metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// Rows left out for a NULL in a feature or the label.
    pub null_rows: u64,
    /// The predictions of the other rows.
    pub said: Predictions,
}

/// The accumulated predictions and labels.
#[derive(Debug, Clone, PartialEq)]
pub enum Predictions {
    /// Of a classifier.
    Classes(Classified),
    /// Of a regressor.
    Numbers(Regressed),
}

/// The accumulated predictions and labels of a classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    classes: usize,
    /// The number of rows by label (`None` if the model does not know the label) and predicted class.
    counts: BTreeMap<(Option<u32>, u32), u64>,
    log_loss: LogLoss,
    /// One ranking per class; for two classes, only the ranking of the second class.
    rankings: Vec<Ranking>,
    /// Whether scores are rounded.
    is_rounded: bool,
}

/// The accumulated predictions and labels of a regressor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Regressed {
    sums: Regression,
    errors: Median,
    is_rounded: bool,
}

impl Assessment {
    /// An empty assessment for a model of `classes` classes, or for a regressor if `classes` is 0.
    pub fn new(classes: usize) -> Self {
        Self {
            null_rows: 0,
            said: match classes {
                0 => Predictions::Numbers(Regressed::default()),
                _ => Predictions::Classes(Classified::new(classes)),
            },
        }
    }

    /// Counts the rows of a batch: the label of each row, and the outputs of a model of these classes, with scores.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a row has no output, or a label cannot be a class; [`Error::Unsupported`] if the outputs
    /// have no scores.
    pub fn add(
        &mut self,
        label: &ArrayRef,
        classes: &[ClassValue],
        outputs: &Outputs,
    ) -> Result<()> {
        if let Some((_, cause)) = outputs.report.failures.first() {
            return Err(Error::Invalid(cause.clone()));
        }
        let width = classes.len().max(1);
        if outputs.scores.len() != label.len() * width {
            return Err(Error::Unsupported(format!(
                "the model returns no scores for metrics: {} for {} rows",
                outputs.scores.len(),
                label.len()
            )));
        }
        let nulls = label.logical_nulls();
        let valid = NullBuffer::union(outputs.report.valid.as_ref(), nulls.as_ref());
        let is_valid = |row: &usize| valid.as_ref().is_none_or(|valid| valid.is_valid(*row));
        let rows: Vec<usize> = (0..label.len()).filter(is_valid).collect();
        self.null_rows += (label.len() - rows.len()) as u64;
        match &mut self.said {
            Predictions::Numbers(regressed) => {
                let labels = numbers(label)?;
                let labels = rows.iter().map(|&row| labels.value(row));
                let predicted: Vec<f64> = rows.iter().map(|&row| outputs.scores[row]).collect();
                regressed.add(labels, &predicted);
            }
            Predictions::Classes(classified) => {
                let labels = class_values(label)?;
                let position = |row: &usize| {
                    let label = labels[*row].as_ref();
                    label.and_then(|label| class_position(classes, label))
                };
                let positions: Vec<Option<u32>> = rows.iter().map(position).collect();
                let scores = rows
                    .iter()
                    .map(|row| &outputs.scores[row * width..][..width]);
                classified.add(&positions, &scores.collect::<Vec<_>>().concat());
            }
        }
        Ok(())
    }

    /// Adds the rows of another assessment of the same model.
    ///
    /// # Errors
    /// [`Error::Internal`] if the other assessment is of another model.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        self.null_rows += other.null_rows;
        match (&mut self.said, other.said) {
            (Predictions::Classes(ours), Predictions::Classes(theirs))
                if ours.classes == theirs.classes =>
            {
                ours.merge(theirs);
            }
            (Predictions::Numbers(ours), Predictions::Numbers(theirs)) => ours.merge(theirs),
            (Predictions::Classes(_), Predictions::Numbers(_) | Predictions::Classes(_))
            | (Predictions::Numbers(_), Predictions::Classes(_)) => {
                let message = "assessments of different models cannot be merged";
                return Err(Error::Internal(message.into()));
            }
        }
        Ok(())
    }

    /// The metrics, in the order of [`CLASSIFIER_METRICS`] or [`REGRESSOR_METRICS`].
    pub fn metrics(&self) -> Vec<Metric> {
        match &self.said {
            Predictions::Classes(classified) => classified.metrics(),
            Predictions::Numbers(regressed) => regressed.metrics(),
        }
    }

    /// The number of rows that are counted.
    pub fn rows(&self) -> u64 {
        match &self.said {
            Predictions::Classes(classified) => classified.rows(),
            Predictions::Numbers(regressed) => regressed.sums.rows,
        }
    }

    /// The assessment as bytes, for another process.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Writer::default();
        bytes.count(self.null_rows);
        match &self.said {
            Predictions::Classes(classified) => {
                bytes.count(classified.classes as u64);
                classified.write(&mut bytes);
            }
            Predictions::Numbers(regressed) => {
                bytes.count(0);
                regressed.write(&mut bytes);
            }
        }
        bytes.0
    }

    /// Reads the bytes of [`Assessment::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Internal`] if the bytes are malformed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut bytes = Reader(bytes);
        let null_rows = bytes.count()?;
        let said = match bytes.count()? as usize {
            0 => Predictions::Numbers(Regressed::read(&mut bytes)?),
            classes => Predictions::Classes(Classified::read(&mut bytes, classes)?),
        };
        Ok(Self { null_rows, said })
    }
}

impl Classified {
    fn new(classes: usize) -> Self {
        Self {
            classes,
            counts: BTreeMap::new(),
            log_loss: LogLoss::default(),
            rankings: vec![Ranking::default(); if classes == 2 { 1 } else { classes }],
            is_rounded: false,
        }
    }

    /// Counts rows: the class of each, `None` if the model does not know it, and the probabilities of all classes,
    /// row-major `[rows, classes]`. An unseen label counts as wrong, and is left out of log loss and ROC AUC.
    pub fn add(&mut self, labels: &[Option<u32>], probabilities: &[f64]) {
        let predicted = predicted_classes(probabilities, self.classes, 0.5);
        let rows = probabilities.chunks_exact(self.classes);
        for ((&label, predicted), row) in labels.iter().zip(predicted).zip(rows) {
            *self.counts.entry((label, predicted)).or_default() += 1;
            let Some(label) = label.map(|label| label as usize) else {
                continue;
            };
            self.log_loss.add(row[label]);
            let scores = if self.classes == 2 { &row[1..] } else { row };
            let first = self.classes - scores.len();
            for (class, (ranking, &score)) in self.rankings.iter_mut().zip(scores).enumerate() {
                ranking.add(score, first + class == label);
            }
        }
        self.bound();
    }

    fn merge(&mut self, other: Self) {
        for (pair, count) in other.counts {
            *self.counts.entry(pair).or_default() += count;
        }
        self.log_loss.merge(&other.log_loss);
        let rankings = self.rankings.iter_mut().zip(other.rankings);
        rankings.for_each(|(ours, theirs)| ours.merge(theirs));
        self.is_rounded |= other.is_rounded;
        self.bound();
    }

    /// Rounds scores if there are too many. Whether metrics use rounded scores depends only on the final number of rows.
    fn bound(&mut self) {
        let exact: usize = self.rankings.iter().map(Ranking::exact_rows).sum();
        let limit = if self.is_rounded {
            UNROUNDED_MAX
        } else {
            SCORES_MAX
        };
        if exact > limit {
            self.round();
        }
    }

    fn round(&mut self) {
        self.is_rounded = true;
        let bits = score_bits(self.rankings.len());
        self.rankings
            .iter_mut()
            .for_each(|ranking| ranking.round(bits));
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The number of rows whose label the model does not know.
    pub fn unseen(&self) -> u64 {
        let unseen = self.counts.iter().filter(|((label, _), _)| label.is_none());
        unseen.map(|(_, count)| count).sum()
    }

    /// The number of rows of each pair of label (`None` if the model does not know it) and predicted class that occurs.
    pub fn counts(&self) -> impl Iterator<Item = (Option<u32>, u32, u64)> {
        let counts = self.counts.iter();
        counts.map(|(&(label, predicted), &count)| (label, predicted, count))
    }

    /// Precision, recall and f1 are means over the classes that occur.
    fn metrics(&self) -> Vec<Metric> {
        let mut values = [None; 6];
        if self.rows() > 0 {
            let confusion = self.confusion();
            values[0] = confusion.accuracy();
            if let Some(scores) = confusion.macro_scores() {
                values[1..4]
                    .copy_from_slice(&[scores.precision, scores.recall, scores.f1].map(Some));
            }
            values[4] = self.log_loss.value();
            values[5] = self.roc_auc();
        }
        named(CLASSIFIER_METRICS, &values)
    }

    fn confusion(&self) -> Confusion<u32> {
        let mut classes: BTreeMap<u32, ClassCounts> = BTreeMap::new();
        for (label, predicted, count) in self.counts() {
            if let Some(label) = label {
                classes.entry(label).or_default().labelled += count;
            }
            let class = classes.entry(predicted).or_default();
            class.predicted += count;
            class.hits += if label == Some(predicted) { count } else { 0 };
        }
        Confusion::from_counts(self.rows(), classes)
    }

    /// For two classes, the area of the second class; for more, the mean over each class against the rest.
    fn roc_auc(&self) -> Option<f64> {
        let areas = |rankings: &[Ranking]| -> Vec<f64> {
            rankings.iter().filter_map(Ranking::roc_auc).collect()
        };
        let areas = match self.is_rounded {
            true => {
                let mut rounded = self.clone();
                rounded.round();
                areas(&rounded.rankings)
            }
            false => areas(&self.rankings),
        };
        (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64)
    }

    fn write(&self, bytes: &mut Writer) {
        bytes.count(u64::from(self.is_rounded));
        bytes.count(self.counts.len() as u64);
        for (label, predicted, count) in self.counts() {
            bytes.count(label.map_or(u64::MAX, u64::from));
            bytes.count(u64::from(predicted));
            bytes.count(count);
        }
        bytes.count(self.log_loss.rows);
        bytes.block(&self.log_loss.sum.to_bytes());
        for ranking in &self.rankings {
            let (scores, positives) = ranking.rows();
            bytes.count(scores.len() as u64);
            scores.iter().for_each(|score| bytes.number(*score));
            bytes.0.extend(positives.iter().copied().map(u8::from));
            bytes.count(ranking.counts().len() as u64);
            for (score, [negatives, positives]) in ranking.counts() {
                bytes.number(score);
                bytes.count(negatives);
                bytes.count(positives);
            }
        }
    }

    fn read(bytes: &mut Reader<'_>, classes: usize) -> Result<Self> {
        let mut read = Self::new(classes);
        read.is_rounded = bytes.count()? != 0;
        for _ in 0..bytes.count()? {
            let label = u32::try_from(bytes.count()?).ok();
            let predicted = bytes.count()? as u32;
            read.counts.insert((label, predicted), bytes.count()?);
        }
        read.log_loss.rows = bytes.count()?;
        read.log_loss.sum = exact_sum(bytes)?;
        for ranking in &mut read.rankings {
            let count = bytes.count()?;
            let scores = (0..count)
                .map(|_| bytes.number())
                .collect::<Result<Vec<_>>>()?;
            let positives = bytes.bytes(scores.len())?;
            let rows = scores.into_iter().zip(positives);
            rows.for_each(|(score, is_positive)| ranking.add(score, *is_positive != 0));
            for _ in 0..bytes.count()? {
                let score = bytes.number()?;
                let negatives = bytes.count()?;
                ranking.add_rounded(score, [negatives, bytes.count()?]);
            }
        }
        Ok(read)
    }
}

impl Regressed {
    /// Counts rows.
    pub fn add(&mut self, labels: impl IntoIterator<Item = f64>, predicted: &[f64]) {
        for (label, &predicted) in labels.into_iter().zip(predicted) {
            self.sums.add(label, predicted);
            self.errors.add((label - predicted).abs());
        }
        self.bound();
    }

    fn merge(&mut self, other: Self) {
        self.sums.merge(&other.sums);
        self.errors.merge(other.errors);
        self.is_rounded |= other.is_rounded;
        self.bound();
    }

    fn bound(&mut self) {
        let limit = if self.is_rounded {
            UNROUNDED_MAX
        } else {
            SCORES_MAX
        };
        if self.errors.exact().len() > limit {
            self.is_rounded = true;
            self.errors.round(SCORE_BITS);
        }
    }

    fn median(&self) -> Option<f64> {
        let mut errors = self.errors.clone();
        if self.is_rounded {
            errors.round(SCORE_BITS);
        }
        errors.value()
    }

    fn metrics(&self) -> Vec<Metric> {
        let sums = &self.sums;
        let values = match sums.rows {
            0 => [None; 6],
            _ => [
                sums.mae(),
                sums.mse(),
                sums.rmse(),
                sums.r2(),
                self.median(),
                sums.explained_variance(),
            ],
        };
        named(REGRESSOR_METRICS, &values)
    }

    fn write(&self, bytes: &mut Writer) {
        bytes.count(u64::from(self.is_rounded));
        bytes.count(self.sums.rows);
        let sums = self.sums.sums();
        sums.iter().for_each(|sum| bytes.block(&sum.to_bytes()));
        bytes.count(self.errors.exact().len() as u64);
        let exact = self.errors.exact().iter();
        exact.for_each(|error| bytes.number(*error));
        bytes.count(self.errors.counts().len() as u64);
        for (error, count) in self.errors.counts() {
            bytes.number(error);
            bytes.count(count);
        }
    }

    fn read(bytes: &mut Reader<'_>) -> Result<Self> {
        let mut read = Self {
            is_rounded: bytes.count()? != 0,
            ..Self::default()
        };
        read.sums.rows = bytes.count()?;
        for sum in read.sums.sums_mut() {
            *sum = exact_sum(bytes)?;
        }
        for _ in 0..bytes.count()? {
            read.errors.add(bytes.number()?);
        }
        for _ in 0..bytes.count()? {
            let error = bytes.number()?;
            read.errors.add_rounded(error, bytes.count()?);
        }
        Ok(read)
    }
}

fn exact_sum(bytes: &mut Reader<'_>) -> Result<ExactSum> {
    let wrong = || Error::Internal("a sum in a message of a worker cannot be read".into());
    ExactSum::from_bytes(bytes.block()?).ok_or_else(wrong)
}

/// The number of bits to which scores are rounded with this many rankings.
fn score_bits(rankings: usize) -> u32 {
    SCORE_BITS
        .saturating_sub(rankings.ilog2())
        .max(SCORE_BITS_MIN)
}

fn named(names: &[&str], values: &[Option<f64>]) -> Vec<Metric> {
    let finite = |value: &Option<f64>| value.filter(|value| value.is_finite());
    names
        .iter()
        .zip(values)
        .map(|(name, value)| Metric {
            name: (*name).into(),
            value: finite(value),
        })
        .collect()
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
        for classes in [0, 3] {
            let metrics = Assessment::new(classes).metrics();
            assert!(metrics.iter().all(|metric| metric.value.is_none()));
        }
    }

    fn of(said: Predictions) -> Assessment {
        Assessment { null_rows: 3, said }
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
        assert!(merged.clone().merge(Assessment::new(0)).is_err());
        assert_eq!(merged.metrics(), whole.metrics());
        assert_eq!((merged.rows(), whole.unseen()), (500, 72));
        let read = Assessment::from_bytes(&merged.to_bytes()).unwrap();
        assert_eq!(read, merged);

        let mut regressed = Regressed::default();
        regressed.add((0..99).map(|n| f64::from(n) * 0.7), &[20.0; 99]);
        let regressed = of(Predictions::Numbers(regressed));
        let bytes = regressed.to_bytes();
        assert_eq!(Assessment::from_bytes(&bytes).unwrap(), regressed);
        assert!(Assessment::from_bytes(&bytes[..bytes.len() - 1]).is_err());
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
        let read = Assessment::from_bytes(&written.to_bytes()).unwrap();
        assert_eq!(read, written);
        assert_eq!(parts.metrics(), whole.metrics());
        let error = value(&exact, "roc_auc") - value(&whole.metrics(), "roc_auc");
        assert!(error.abs() < 1e-3, "{error}");
    }
}
