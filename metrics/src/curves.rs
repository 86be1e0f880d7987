//! Curves of scores and binary labels, with scikit-learn's points: a row of three numbers for each point.

use crate::ranking::{Ranking, Tied};

/// The number of bins of [`Ranking::calibration_curve`].
const BINS: usize = 10;

impl Ranking {
    /// The ROC curve from the highest threshold on: threshold, false positive rate, true positive rate. Points on a line
    /// between their neighbours are left out. A rate of no rows is NaN.
    pub fn roc_curve(&self) -> Vec<[f64; 3]> {
        let tied = self.tied().unwrap_or_default();
        let (positives, negatives) = totals(&tied);
        let mut points = vec![];
        let (mut true_positives, mut false_positives) = (0.0, 0.0);
        for (at, run) in tied.iter().enumerate() {
            if at == 0 {
                let rate = |rows: f64| 0.0 / rows;
                points.push([f64::INFINITY, rate(negatives), rate(positives)]);
            }
            true_positives += run.positives;
            false_positives += run.negatives;
            let is_bend = at == 0
                || tied.get(at + 1).is_none_or(|next| {
                    (next.positives, next.negatives) != (run.positives, run.negatives)
                });
            if is_bend {
                let rates = [false_positives / negatives, true_positives / positives];
                points.push([run.score, rates[0], rates[1]]);
            }
        }
        points
    }

    /// Precision over recall from the highest threshold on: threshold, precision, recall. The first point is that of no
    /// row, with a precision of 1. Without positive rows, recall is NaN.
    pub fn pr_curve(&self) -> Vec<[f64; 3]> {
        let tied = self.tied().unwrap_or_default();
        let (positives, _) = totals(&tied);
        let mut points = vec![];
        let (mut hits, mut rows) = (0.0, 0.0);
        for run in &tied {
            if points.is_empty() {
                points.push([f64::INFINITY, 1.0, 0.0 / positives]);
            }
            hits += run.positives;
            rows += run.positives + run.negatives;
            points.push([run.score, hits / rows, hits / positives]);
        }
        points
    }

    /// How far scores are probabilities: for each tenth of the scores with rows, the lowest first, the mean score, the
    /// share of positive rows, and the number of rows.
    pub fn calibration_curve(&self) -> Vec<[f64; 3]> {
        let mut bins = [[0.0; 3]; BINS];
        for run in self.tied().unwrap_or_default() {
            let is_below = |edge: &usize| (*edge as f64) * 0.1 < run.score;
            let [scores, positives, rows] = &mut bins[(1..BINS).filter(is_below).count()];
            let count = run.positives + run.negatives;
            *scores += run.score * count;
            *positives += run.positives;
            *rows += count;
        }
        let filled = bins.into_iter().filter(|[.., rows]| *rows > 0.0);
        let shares = |[scores, positives, rows]: [f64; 3]| [scores / rows, positives / rows, rows];
        filled.map(shares).collect()
    }
}

/// The numbers of positive and negative rows.
fn totals(tied: &[Tied]) -> (f64, f64) {
    let positives = tied.iter().map(|run| run.positives).sum();
    let negatives = tied.iter().map(|run| run.negatives).sum();
    (positives, negatives)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking() -> Ranking {
        let scores = [
            0.9, 0.8, 0.8, 0.7, 0.6, 0.55, 0.5, 0.35, 0.3, 0.2, 0.15, 0.05,
        ];
        let positives = [1, 1, 0, 1, 1, 0, 1, 0, 0, 0, 1, 0];
        let mut ranking = Ranking::default();
        for (score, positive) in scores.into_iter().zip(positives) {
            ranking.add(score, positive == 1);
        }
        ranking
    }

    #[track_caller]
    fn check(found: &[[f64; 3]], expected: &[[f64; 3]]) {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            let is_close = found == expected || (found - expected).abs() < 1e-12;
            assert!(is_close, "{found} is not {expected}");
        }
    }

    // The expected points are those of roc_curve, precision_recall_curve and calibration_curve (10 bins) of scikit-learn 1.9.1.
    #[test]
    fn points_are_those_of_scikit_learn() {
        check(
            &ranking().roc_curve(),
            &[
                [f64::INFINITY, 0.0, 0.0],
                [0.9, 0.0, 0.16666666666666666],
                [0.8, 0.16666666666666666, 0.3333333333333333],
                [0.6, 0.16666666666666666, 0.6666666666666666],
                [0.55, 0.3333333333333333, 0.6666666666666666],
                [0.5, 0.3333333333333333, 0.8333333333333334],
                [0.2, 0.8333333333333334, 0.8333333333333334],
                [0.15, 0.8333333333333334, 1.0],
                [0.05, 1.0, 1.0],
            ],
        );
        check(
            &ranking().pr_curve(),
            &[
                [f64::INFINITY, 1.0, 0.0],
                [0.9, 1.0, 0.16666666666666666],
                [0.8, 0.6666666666666666, 0.3333333333333333],
                [0.7, 0.75, 0.5],
                [0.6, 0.8, 0.6666666666666666],
                [0.55, 0.6666666666666666, 0.6666666666666666],
                [0.5, 0.7142857142857143, 0.8333333333333334],
                [0.35, 0.625, 0.8333333333333334],
                [0.3, 0.5555555555555556, 0.8333333333333334],
                [0.2, 0.5, 0.8333333333333334],
                [0.15, 0.5454545454545454, 1.0],
                [0.05, 0.5, 1.0],
            ],
        );
        check(
            &ranking().calibration_curve(),
            &[
                [0.05, 0.0, 1.0],
                [0.175, 0.5, 2.0],
                [0.3, 0.0, 1.0],
                [0.35, 0.0, 1.0],
                [0.5, 1.0, 1.0],
                [0.575, 0.5, 2.0],
                [0.7, 1.0, 1.0],
                [0.8, 0.5, 2.0],
                [0.9, 1.0, 1.0],
            ],
        );
    }

    #[test]
    fn no_rows_have_no_points_and_rows_of_one_kind_no_rate() {
        let mut ranking = Ranking::default();
        assert!(ranking.roc_curve().is_empty() && ranking.pr_curve().is_empty());
        assert!(ranking.calibration_curve().is_empty());
        ranking.add(0.5, false);
        let [first, last] = ranking.roc_curve()[..] else {
            panic!("{:?}", ranking.roc_curve());
        };
        assert!(first[1] == 0.0 && first[2].is_nan() && last[1] == 1.0 && last[2].is_nan());
        check(&ranking.calibration_curve(), &[[0.5, 0.0, 1.0]]);
    }
}
