//! Ranking metrics of scores and binary labels: area under the ROC curve and average precision.

use std::collections::BTreeMap;

use crate::rounding::{key, number, rounded};

/// An accumulator of scores and binary labels. It keeps 9 bytes per row, because a rank depends on all rows. Where that
/// is too much, [`Ranking::round`] replaces the rows by counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ranking {
    scores: Vec<f64>,
    positives: Vec<bool>,
    /// The numbers of negative and positive rows of each rounded score, by the score's [`key`].
    counts: BTreeMap<u64, [u64; 2]>,
}

/// The rows of one score.
pub(crate) struct Tied {
    pub(crate) score: f64,
    pub(crate) positives: f64,
    pub(crate) negatives: f64,
}

impl Ranking {
    /// Counts a row.
    pub fn add(&mut self, score: f64, is_positive: bool) {
        self.scores.push(score);
        self.positives.push(is_positive);
    }

    /// Adds the rows of another part.
    pub fn merge(&mut self, other: Self) {
        self.scores.extend(other.scores);
        self.positives.extend(other.positives);
        for (score, [negatives, positives]) in other.counts {
            self.add_counts(score, [negatives, positives]);
        }
    }

    fn add_counts(&mut self, score: u64, [negatives, positives]: [u64; 2]) {
        let counts = self.counts.entry(score).or_default();
        counts[0] += negatives;
        counts[1] += positives;
    }

    /// Rounds scores, which lie between 0 and 1, to `bits` bits of their distance from the nearer end, and keeps only the
    /// number of rows of each score. A metric is off by at most half of the pairs of rows that become ties.
    pub fn round(&mut self, bits: u32) {
        let scores = std::mem::take(&mut self.scores);
        let positives = std::mem::take(&mut self.positives);
        for (score, is_positive) in scores.into_iter().zip(positives) {
            let score = match score < 0.5 {
                true => rounded(score, bits),
                false => 1.0 - rounded(1.0 - score, bits),
            };
            self.add_counts(
                key(score),
                [u64::from(!is_positive), u64::from(is_positive)],
            );
        }
    }

    /// The number of rows whose scores are not rounded.
    pub fn exact_rows(&self) -> usize {
        self.scores.len()
    }

    /// The rounded scores, each with its numbers of negative and positive rows.
    pub fn counts(&self) -> impl ExactSizeIterator<Item = (f64, [u64; 2])> {
        self.counts
            .iter()
            .map(|(&key, &counts)| (number(key), counts))
    }

    /// Adds rows of a rounded score: the numbers of negative and positive rows.
    pub fn add_rounded(&mut self, score: f64, counts: [u64; 2]) {
        self.add_counts(key(score), counts);
    }

    /// The scores that are not rounded, and for each whether its row is positive.
    pub fn rows(&self) -> (&[f64], &[bool]) {
        (&self.scores, &self.positives)
    }

    /// Memory of the rows in bytes.
    pub fn bytes(&self) -> usize {
        let counts = self.counts.len() * size_of::<(u64, [u64; 2])>();
        self.scores.capacity() * size_of::<f64>() + self.positives.capacity() + counts
    }

    /// The area under the ROC curve: the probability that a positive row scores above a negative one, where a tie counts
    /// half (Mann-Whitney U). `None` unless there are rows of both kinds; NaN if a score is NaN.
    pub fn roc_auc(&self) -> Option<f64> {
        let tied = self.tied()?;
        let positives: f64 = tied.iter().map(|tied| tied.positives).sum();
        let negatives: f64 = tied.iter().map(|tied| tied.negatives).sum();
        if positives == 0.0 || negatives == 0.0 {
            return None;
        }
        let (mut area, mut above) = (0.0, 0.0);
        for tied in &tied {
            area += tied.negatives * (above + tied.positives / 2.0);
            above += tied.positives;
        }
        Some(self.unless_nan(area / (positives * negatives)))
    }

    /// The area under the curve of precision over recall, in steps (scikit-learn's `average_precision_score`). `None`
    /// without a positive row; NaN if a score is NaN.
    pub fn average_precision(&self) -> Option<f64> {
        let tied = self.tied()?;
        let positives: f64 = tied.iter().map(|tied| tied.positives).sum();
        if positives == 0.0 {
            return None;
        }
        let (mut area, mut hits, mut rows) = (0.0, 0.0, 0.0);
        for tied in &tied {
            hits += tied.positives;
            rows += tied.positives + tied.negatives;
            area += tied.positives * hits / rows;
        }
        Some(self.unless_nan(area / positives))
    }

    /// The rows of each score, the highest score first.
    pub(crate) fn tied(&self) -> Option<Vec<Tied>> {
        if self.scores.is_empty() && self.counts.is_empty() {
            return None;
        }
        let exact = self.scores.iter().zip(&self.positives);
        let exact = exact.map(|(&score, &is_positive)| {
            (
                score,
                [
                    f64::from(u8::from(!is_positive)),
                    f64::from(u8::from(is_positive)),
                ],
            )
        });
        let counted = self
            .counts()
            .map(|(score, counts)| (score, counts.map(|count| count as f64)));
        let mut rows: Vec<(f64, [f64; 2])> = exact.chain(counted).collect();
        rows.sort_unstable_by(|left, right| right.0.total_cmp(&left.0));
        let runs = rows.chunk_by(|left, right| left.0 == right.0);
        let of_run = |run: &[(f64, [f64; 2])]| Tied {
            score: run[0].0,
            positives: run.iter().map(|(_, counts)| counts[1]).sum(),
            negatives: run.iter().map(|(_, counts)| counts[0]).sum(),
        };
        Some(runs.map(of_run).collect())
    }

    fn unless_nan(&self, value: f64) -> f64 {
        let mut counted = self.counts().map(|(score, _)| score);
        if self.scores.iter().any(|score| score.is_nan()) || counted.any(f64::is_nan) {
            f64::NAN
        } else {
            value
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores that separate positive rows from negative rows imperfectly.
    fn ranking(rows: u64) -> Ranking {
        let mut ranking = Ranking::default();
        let mut state = 7u64;
        for row in 0..rows {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let noise = (state >> 11) as f64 / (1u64 << 53) as f64;
            let is_positive = row % 3 == 0;
            let score = 0.6 * noise + if is_positive { 0.4 } else { 0.0 };
            ranking.add(score.powi(8), is_positive);
        }
        ranking
    }

    #[test]
    fn rounded_scores_rank_almost_as_exact_ones() {
        let exact = ranking(20_000);
        for (bits, error) in [(14, 1e-4), (5, 1e-2)] {
            let mut rounded = exact.clone();
            rounded.round(bits);
            assert_eq!(rounded.exact_rows(), 0);
            let (expected, found) = (exact.roc_auc().unwrap(), rounded.roc_auc().unwrap());
            assert!(
                (expected - found).abs() < error,
                "{bits}: {expected}, {found}"
            );
            let precision = (exact.average_precision(), rounded.average_precision());
            assert!((precision.0.unwrap() - precision.1.unwrap()).abs() < error);
        }
    }

    #[test]
    fn rounding_before_and_after_merging_is_the_same() {
        let mut all = ranking(1_000);
        let (mut first, mut second) = (Ranking::default(), Ranking::default());
        let (scores, positives) = all.rows();
        for (row, (&score, &is_positive)) in scores.iter().zip(positives).enumerate() {
            let part = if row % 2 == 0 {
                &mut first
            } else {
                &mut second
            };
            part.add(score, is_positive);
        }
        first.round(10);
        first.merge(second);
        first.round(10);
        all.round(10);
        assert_eq!(first, all);
    }
}
