//! [`Confusion`]: counts of labels and predictions per class, and accuracy, precision, recall and F1 from them.

use std::collections::BTreeMap;

/// Counts of labels and predictions, class by class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion<K> {
    rows: u64,
    hits: u64,
    classes: BTreeMap<K, ClassCounts>,
}

/// The rows of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Rows of the class that were predicted correctly.
    pub hits: u64,
    /// Rows whose label is the class.
    pub labelled: u64,
    /// Rows for which the class was predicted.
    pub predicted: u64,
}

/// Precision, recall and their harmonic mean.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scores {
    /// The share of the predicted rows whose label is the class.
    pub precision: f64,
    /// The share of the labelled rows that were predicted.
    pub recall: f64,
    /// 2 · precision · recall / (precision + recall).
    pub f1: f64,
}

impl<K> Default for Confusion<K> {
    fn default() -> Self {
        Self {
            rows: 0,
            hits: 0,
            classes: BTreeMap::new(),
        }
    }
}

impl<K: Ord> Confusion<K> {
    /// Builds the counts from counts that were accumulated elsewhere.
    pub fn from_counts(rows: u64, classes: impl IntoIterator<Item = (K, ClassCounts)>) -> Self {
        let classes: BTreeMap<K, ClassCounts> = classes.into_iter().collect();
        Self {
            rows,
            hits: classes.values().map(|class| class.hits).sum(),
            classes,
        }
    }

    /// Counts a row. `None` is a label outside the classes and counts as wrong.
    pub fn add(&mut self, label: Option<K>, predicted: K) {
        let is_hit = label.as_ref() == Some(&predicted);
        self.rows += 1;
        self.hits += u64::from(is_hit);
        if let Some(label) = label {
            self.classes.entry(label).or_default().labelled += 1;
        }
        let class = self.classes.entry(predicted).or_default();
        class.predicted += 1;
        class.hits += u64::from(is_hit);
    }

    /// Adds the rows of another part.
    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.hits += other.hits;
        for (class, counts) in other.classes {
            self.classes.entry(class).or_default().merge(counts);
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The counts of each class that occurs, in order.
    pub fn classes(&self) -> impl ExactSizeIterator<Item = (&K, &ClassCounts)> {
        self.classes.iter()
    }

    /// The share of rows that were predicted correctly.
    pub fn accuracy(&self) -> Option<f64> {
        (self.rows > 0).then(|| ratio(self.hits, self.rows))
    }

    /// The unweighted mean of the scores of the classes that occur (scikit-learn's `average='macro'`). A score with a
    /// zero denominator is 0 (`zero_division=0`).
    pub fn macro_scores(&self) -> Option<Scores> {
        Scores::mean(self.classes.values())
    }

    /// The scores of one class (scikit-learn's `average='binary'` with this `pos_label`).
    pub fn scores_of(&self, class: &K) -> Option<Scores> {
        let counts = self.classes.get(class).copied().unwrap_or_default();
        (self.rows > 0).then(|| counts.scores())
    }
}

impl ClassCounts {
    /// Adds the rows of another part.
    pub(crate) fn merge(&mut self, other: Self) {
        self.hits += other.hits;
        self.labelled += other.labelled;
        self.predicted += other.predicted;
    }

    pub(crate) fn scores(self) -> Scores {
        Scores {
            precision: ratio(self.hits, self.predicted),
            recall: ratio(self.hits, self.labelled),
            f1: ratio(2 * self.hits, self.labelled + self.predicted),
        }
    }
}

impl Scores {
    /// The unweighted mean of the scores of these classes; `None` without a class.
    pub(crate) fn mean<'a>(
        classes: impl ExactSizeIterator<Item = &'a ClassCounts>,
    ) -> Option<Self> {
        let count = match classes.len() {
            0 => return None,
            count => count as f64,
        };
        let mut sum = Self::default();
        for counts in classes {
            let scores = counts.scores();
            sum.precision += scores.precision;
            sum.recall += scores.recall;
            sum.f1 += scores.f1;
        }
        Some(Self {
            precision: sum.precision / count,
            recall: sum.recall / count,
            f1: sum.f1 / count,
        })
    }
}

pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}
