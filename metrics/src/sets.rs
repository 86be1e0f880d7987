//! [`LabelSets`]: metrics of sets of labels, where each of several labels applies to a row or does not.

use crate::confusion::{ClassCounts, Scores, ratio};

/// Counts of the labels of rows and of predictions, label by label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSets {
    /// The number of rows.
    pub rows: u64,
    /// The rows whose set was predicted as it is.
    pub matches: u64,
    /// The rows of each label.
    pub labels: Vec<ClassCounts>,
}

impl LabelSets {
    /// No rows of so many labels.
    pub fn new(labels: usize) -> Self {
        Self {
            rows: 0,
            matches: 0,
            labels: vec![ClassCounts::default(); labels],
        }
    }

    /// Counts a row: whether each label applies, and whether it was predicted. A row with `others`, labels beyond these, is no
    /// match.
    pub fn add(&mut self, row: impl IntoIterator<Item = (bool, bool)>, others: bool) {
        let mut is_match = !others;
        for (counts, (applies, is_predicted)) in self.labels.iter_mut().zip(row) {
            counts.labelled += u64::from(applies);
            counts.predicted += u64::from(is_predicted);
            counts.hits += u64::from(applies && is_predicted);
            is_match &= applies == is_predicted;
        }
        self.rows += 1;
        self.matches += u64::from(is_match);
    }

    /// Adds the rows of another part, of the same labels.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.matches += other.matches;
        for (ours, theirs) in self.labels.iter_mut().zip(&other.labels) {
            ours.merge(*theirs);
        }
    }

    /// The share of rows whose set was predicted as it is (scikit-learn's `accuracy_score` of indicators).
    pub fn accuracy(&self) -> Option<f64> {
        (self.rows > 0).then(|| ratio(self.matches, self.rows))
    }

    /// The share of labels that were predicted wrongly, over all rows and labels.
    pub fn hamming_loss(&self) -> Option<f64> {
        let wrong = self.labels.iter();
        let wrong = wrong.map(|counts| counts.labelled + counts.predicted - 2 * counts.hits);
        let all = self.rows * self.labels.len() as u64;
        (all > 0).then(|| ratio(wrong.sum(), all))
    }

    /// The unweighted mean of the scores of all labels (`average='macro'`). A score with a zero denominator is 0.
    pub fn macro_scores(&self) -> Option<Scores> {
        match self.rows {
            0 => None,
            _ => Scores::mean(self.labels.iter()),
        }
    }

    /// The scores of the labels of all rows together (`average='micro'`).
    pub fn micro_scores(&self) -> Option<Scores> {
        let mut all = ClassCounts::default();
        for counts in &self.labels {
            all.merge(*counts);
        }
        (self.rows > 0).then(|| all.scores())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels and predictions of four rows; of the third label there is none.
    const ROWS: [([bool; 3], [bool; 3]); 4] = [
        ([true, false, false], [true, false, false]),
        ([true, true, false], [true, false, false]),
        ([false, true, false], [true, true, false]),
        ([false, false, false], [false, false, false]),
    ];

    fn sets(rows: &[([bool; 3], [bool; 3])]) -> LabelSets {
        let mut sets = LabelSets::new(3);
        for (labels, predicted) in rows {
            sets.add(labels.iter().copied().zip(predicted.iter().copied()), false);
        }
        sets
    }

    /// Expected values: scikit-learn 1.9, `zero_division=0`.
    #[test]
    fn metrics_agree_with_scikit_learn() {
        let mut all = sets(&ROWS[..1]);
        all.merge(&sets(&ROWS[1..]));
        assert_eq!(all, sets(&ROWS));
        let close = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-12;
        assert!(close(all.accuracy(), 0.5));
        assert!(close(all.hamming_loss(), 1.0 / 6.0));
        let scores = all.macro_scores().unwrap();
        assert!(close(Some(scores.precision), 0.555_555_555_555_555_5));
        assert!(close(Some(scores.recall), 0.5));
        assert!(close(Some(scores.f1), 0.488_888_888_888_888_9));
        assert!(close(all.micro_scores().map(|scores| scores.f1), 0.75));
    }

    #[test]
    fn labels_beyond_the_known_are_no_match() {
        let mut all = sets(&ROWS[..1]);
        all.add([(false, false); 3], true);
        assert_eq!((all.accuracy(), all.hamming_loss()), (Some(0.5), Some(0.0)));
        let none = LabelSets::new(2);
        assert_eq!((none.accuracy(), none.hamming_loss()), (None, None));
        assert_eq!((none.macro_scores(), none.micro_scores()), (None, None));
    }
}
