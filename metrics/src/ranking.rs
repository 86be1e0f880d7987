//! How well scores put positive rows before negative ones.

/// Scores with whether the row is positive. It keeps 9 bytes a row: a rank is known only once all are there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ranking {
    scores: Vec<f64>,
    positives: Vec<bool>,
}

/// The rows of one score.
struct Tied {
    positives: f64,
    negatives: f64,
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
    }

    /// The scores, and beside each whether its row is positive.
    pub fn rows(&self) -> (&[f64], &[bool]) {
        (&self.scores, &self.positives)
    }

    /// Memory of the rows in bytes.
    pub fn bytes(&self) -> usize {
        self.scores.capacity() * size_of::<f64>() + self.positives.capacity()
    }

    /// The area under the ROC curve: the probability that a positive row scores above a negative one, where a tie counts
    /// half (Mann-Whitney U). `None` unless there are rows of both kinds; NaN if a score is.
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
    /// without a positive row; NaN if a score is.
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
    fn tied(&self) -> Option<Vec<Tied>> {
        if self.scores.is_empty() {
            return None;
        }
        let mut rows: Vec<(f64, bool)> = self
            .scores
            .iter()
            .copied()
            .zip(self.positives.iter().copied())
            .collect();
        rows.sort_unstable_by(|left, right| right.0.total_cmp(&left.0));
        let runs = rows.chunk_by(|left, right| left.0 == right.0);
        let of_run = |run: &[(f64, bool)]| {
            let positives = run.iter().filter(|(_, is_positive)| *is_positive).count();
            Tied {
                positives: positives as f64,
                negatives: (run.len() - positives) as f64,
            }
        };
        Some(runs.map(of_run).collect())
    }

    fn unless_nan(&self, value: f64) -> f64 {
        if self.scores.iter().any(|score| score.is_nan()) {
            f64::NAN
        } else {
            value
        }
    }
}
