//! [`Classified`]: the predictions and labels of a classifier.

use std::collections::BTreeMap;

use vatic_metrics::{ClassCounts, Confusion, LogLoss, Ranking};

use super::limits::{SCORES_MAX, UNROUNDED_MAX, score_bits};
use super::metric::{CLASSIFIER_METRICS, Metric, named};
use crate::Result;
use crate::bytes::{Reader, Writer};
use crate::data::labels::predicted_classes;

/// The accumulated predictions and labels of a classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    pub(super) classes: usize,
    /// The number of rows by label (`None` if the model does not know the label) and predicted class.
    counts: BTreeMap<(Option<u32>, u32), u64>,
    log_loss: LogLoss,
    /// One ranking per class; for two classes, only the ranking of the second class.
    rankings: Vec<Ranking>,
    /// Whether scores are rounded.
    is_rounded: bool,
}

impl Classified {
    pub(super) fn new(classes: usize) -> Self {
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

    pub(super) fn merge(&mut self, other: Self) {
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

    pub(super) fn round(&mut self) {
        self.is_rounded = true;
        let bits = score_bits(self.rankings.len());
        self.rankings
            .iter_mut()
            .for_each(|ranking| ranking.round(bits));
    }

    pub(super) fn bytes(&self) -> usize {
        let counts = self.counts.len() * size_of::<((Option<u32>, u32), u64)>();
        counts + self.rankings.iter().map(Ranking::bytes).sum::<usize>()
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

    /// What `read` finds in the ranking of each class; for two classes, of the second class.
    pub fn of_rankings<T>(&self, read: impl Fn(u32, &Ranking) -> T) -> Vec<T> {
        let first = self.classes - self.rankings.len();
        let each = |rankings: &[Ranking]| -> Vec<T> {
            let rankings = rankings.iter().enumerate();
            rankings
                .map(|(class, ranking)| read((first + class) as u32, ranking))
                .collect()
        };
        match self.is_rounded {
            true => {
                let mut rounded = self.clone();
                rounded.round();
                each(&rounded.rankings)
            }
            false => each(&self.rankings),
        }
    }

    /// Precision, recall and f1 are means over the classes that occur.
    pub(super) fn metrics(&self) -> Vec<Metric> {
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
        let areas = self.of_rankings(|_, ranking| ranking.roc_auc());
        let areas: Vec<f64> = areas.into_iter().flatten().collect();
        (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64)
    }

    pub(super) fn write(&self, bytes: &mut Writer) {
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

    pub(super) fn read(bytes: &mut Reader<'_>, classes: usize) -> Result<Self> {
        let mut read = Self::new(classes);
        read.is_rounded = bytes.count()? != 0;
        for _ in 0..bytes.count()? {
            let label = u32::try_from(bytes.count()?).ok();
            let predicted = bytes.count()? as u32;
            read.counts.insert((label, predicted), bytes.count()?);
        }
        read.log_loss.rows = bytes.count()?;
        read.log_loss.sum = bytes.sum()?;
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
