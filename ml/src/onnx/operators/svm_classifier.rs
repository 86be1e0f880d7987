//! `SVMClassifier`: each pair of classes has a weighted sum of kernels, whose sign is a vote for one of them. With the attributes
//! `prob_a` and `prob_b`, the sums become probabilities of pairs, and these the probabilities of the classes (Wu, Lin and
//! Weng, "Probability estimates for multi-class classification by pairwise coupling", 2004, second method).

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{Tensor, TractResult};

use super::attributes::{floats, longs};
use super::class_labels::ClassLabels;
use super::own::{Built, Operator, Shaped, built, wrong};
use super::post_transform::PostTransform;
use super::svm::SupportVectors;
use super::tensors::only;
use crate::nn::sigmoid;

const NAME: &str = "SVMClassifier";
/// The smallest probability of a pair.
const PROBABILITY_MIN: f64 = 1e-7;
const ITERATIONS_MAX: usize = 100;

#[derive(Debug)]
pub(super) struct SvmClassifier {
    vectors: SupportVectors,
    labels: ClassLabels,
    /// The first vector of each class, and the end of the last one.
    starts: Vec<usize>,
    /// `[classes - 1, vectors]`
    coefficients: Vec<f32>,
    /// One for each pair of classes.
    rho: Vec<f32>,
    /// The slope and the offset of each pair, if the output is probabilities.
    sigmoids: Vec<(f64, f64)>,
    post_transform: PostTransform,
}

pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> Built {
    built(SvmClassifier::read(node)?)
}

impl SvmClassifier {
    pub(super) fn read(node: &NodeProto) -> TractResult<Self> {
        let labels = ClassLabels::of(node, "classlabels_ints")?;
        let mut starts = vec![0];
        for count in longs(node, "vectors_per_class")? {
            let last = starts[starts.len() - 1];
            let next = usize::try_from(count)
                .ok()
                .and_then(|count| count.checked_add(last));
            starts.push(next.ok_or_else(|| wrong(NAME, "has a negative number of vectors"))?);
        }
        let (classes, count) = (labels.len(), starts[starts.len() - 1]);
        if count == 0 {
            return Err(wrong(
                NAME,
                "has no support vectors, which is not supported",
            ));
        }
        let pairs = classes * classes.saturating_sub(1) / 2;
        let coefficients = floats(node, "coefficients")?;
        let rho = floats(node, "rho")?;
        let (a, b) = (floats(node, "prob_a")?, floats(node, "prob_b")?);
        let fits = starts.len() == classes + 1
            && coefficients.len() == count * classes.saturating_sub(1)
            && rho.len() == pairs
            && a.len() == b.len()
            && (a.is_empty() || a.len() == pairs);
        if classes < 2 || !fits {
            return Err(wrong(
                NAME,
                format!("has attributes that do not fit {classes} classes and {count} vectors"),
            ));
        }
        let sigmoids = a.into_iter().zip(b);
        let sigmoids = sigmoids.map(|(a, b)| (f64::from(a), f64::from(b)));
        Ok(Self {
            vectors: SupportVectors::of(node, count)?,
            labels,
            starts,
            coefficients,
            rho,
            sigmoids: sigmoids.collect(),
            post_transform: PostTransform::of(node)?,
        })
    }

    fn classes(&self) -> usize {
        self.labels.len()
    }

    /// The scores of a row: a probability for each class, or a sum for each pair. Two classes have two scores.
    fn score_count(&self) -> usize {
        match self.sigmoids.is_empty() && self.classes() > 2 {
            true => self.rho.len(),
            false => self.classes(),
        }
    }

    /// The sum of each pair of classes, and the votes for each class.
    fn pairs(&self, kernels: &[f32]) -> (Vec<f64>, Vec<usize>) {
        let (mut sums, mut votes) = (Vec::with_capacity(self.rho.len()), vec![0; self.classes()]);
        let part = |row: usize, class: usize| -> f64 {
            let vectors = self.starts[class]..self.starts[class + 1];
            let row = &self.coefficients[row * self.vectors.count..][..self.vectors.count];
            let terms = row[vectors.clone()].iter().zip(&kernels[vectors]);
            terms
                .map(|(weight, kernel)| f64::from(weight * kernel))
                .sum()
        };
        for first in 0..self.classes() {
            for second in first + 1..self.classes() {
                let rho = f64::from(self.rho[sums.len()]);
                let sum = part(second - 1, first) + part(first, second) + rho;
                votes[if sum > 0.0 { first } else { second }] += 1;
                sums.push(sum);
            }
        }
        (sums, votes)
    }

    fn scores(&self, sums: Vec<f64>) -> Vec<f64> {
        if !self.sigmoids.is_empty() {
            let mut scores = self.probabilities(&sums);
            self.post_transform.apply(&mut scores);
            return scores;
        }
        match sums.as_slice() {
            [sum] if self.post_transform == PostTransform::None => vec![-sum, *sum],
            [sum] => {
                let second = match self.post_transform {
                    PostTransform::Logistic => sigmoid(*sum),
                    _ => *sum,
                };
                vec![1.0 - second, second]
            }
            _ => {
                let mut scores = sums;
                self.post_transform.apply(&mut scores);
                scores
            }
        }
    }

    /// The probability of each class, from those of the pairs.
    fn probabilities(&self, sums: &[f64]) -> Vec<f64> {
        let classes = self.classes();
        // The probability of the row's class among the class of the row and that of the column.
        let mut pairs = vec![0.0; classes * classes];
        let mut each = sums.iter().zip(&self.sigmoids);
        for first in 0..classes {
            for second in first + 1..classes {
                let (sum, (a, b)) = each.next().unwrap_or((&0.0, &(0.0, 0.0)));
                let probability = 1.0 - sigmoid(sum * a + b);
                let probability = probability.clamp(PROBABILITY_MIN, 1.0 - PROBABILITY_MIN);
                pairs[first * classes + second] = probability;
                pairs[second * classes + first] = 1.0 - probability;
            }
        }
        coupled(&pairs, classes)
    }
}

/// The class probabilities that fit those of all pairs best, `[classes, classes]`.
fn coupled(pairs: &[f64], classes: usize) -> Vec<f64> {
    let mut q = vec![0.0; classes * classes];
    for i in 0..classes {
        for j in (0..classes).filter(|j| *j != i) {
            let (against, other) = (pairs[j * classes + i], pairs[i * classes + j]);
            q[i * classes + i] += against * against;
            q[i * classes + j] = -against * other;
        }
    }
    let mut p = vec![1.0 / classes as f64; classes];
    for _ in 0..ITERATIONS_MAX {
        let rows = q.chunks(classes);
        let dot = |row: &[f64]| row.iter().zip(&p).map(|(q, p)| q * p).sum::<f64>();
        let mut qp: Vec<f64> = rows.map(dot).collect();
        let mut pqp: f64 = p.iter().zip(&qp).map(|(p, qp)| p * qp).sum();
        let errors = qp.iter().map(|qp| (qp - pqp).abs());
        if errors.fold(0.0, f64::max) < 0.005 / classes as f64 {
            break;
        }
        for i in 0..classes {
            let row = &q[i * classes..][..classes];
            let step = (pqp - qp[i]) / row[i];
            p[i] += step;
            pqp = (pqp + step * (step * row[i] + 2.0 * qp[i])) / (1.0 + step) / (1.0 + step);
            for ((product, probability), weight) in qp.iter_mut().zip(&mut p).zip(row) {
                *product = (*product + step * weight) / (1.0 + step);
                *probability /= 1.0 + step;
            }
        }
    }
    p
}

impl Operator for SvmClassifier {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_count(&self) -> usize {
        2
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let input = only(NAME, inputs)?;
        self.vectors.check(input)?;
        Ok(self.labels.outputs(&input.shape[0], self.score_count()))
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let (mut classes, mut scores) = (Vec::new(), Vec::new());
        self.vectors.for_each_row(only(NAME, inputs)?, |kernels| {
            let (sums, votes) = self.pairs(kernels);
            let best = (0..votes.len()).rev().max_by_key(|class| votes[*class]);
            classes.push(best.unwrap_or(0));
            scores.extend(self.scores(sums).iter().map(|score| *score as f32));
        })?;
        self.labels.tensors(&classes, &scores, self.score_count())
    }
}

#[cfg(test)]
#[path = "svm_classifier_tests.rs"]
mod tests;
