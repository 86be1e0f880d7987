//! `TreeEnsembleClassifier`: the class with the largest sum of what the leaves say.
//!
//! Of two classes, an ensemble may have weights for one only. Its sum is then the score of the second class: a probability if no
//! weight is negative, else a number whose sign decides.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{TDim, Tensor, TractResult};

use super::super::attributes::tensor;
use super::super::class_labels::{ClassLabels, largest};
use super::super::own::{Built, Shaped, built, wrong};
use super::super::post_transform::PostTransform;
use super::ensemble::Aggregate;
use super::nodes::{Load, Trees};
use super::operator::{Outcome, TreeOperator};
use crate::nn::sigmoid;

const NAME: &str = "TreeEnsembleClassifier";

type Classifier = TreeOperator<Classes>;

/// What becomes of the sums.
#[derive(Debug)]
struct Classes {
    labels: ClassLabels,
    base_values: Vec<f64>,
    post_transform: PostTransform,
    /// The only one of two classes that has weights.
    only_class: Option<usize>,
    is_never_negative: bool,
}

pub(in crate::onnx) fn build(context: &ParsingContext, node: &NodeProto) -> Built {
    let load = |name: &str| tensor(context, node, name);
    built(Classifier::read(node, &load)?)
}

impl Classifier {
    fn read(node: &NodeProto, load: Load<'_>) -> TractResult<Self> {
        let labels = ClassLabels::of(node, "classlabels_int64s")?;
        let trees = Trees::of(node, "class", labels.len(), load)?;
        let first = trees.weights[0].target;
        let has_one = trees.weights.iter().all(|weight| weight.target == first);
        let only_class = (has_one && labels.len() == 2).then_some(first as usize);
        let bases = trees.base_values.len();
        let fits = bases == 0 || bases == labels.len() || (bases == 1 && only_class.is_some());
        if !fits {
            let classes = labels.len();
            return Err(wrong(
                NAME,
                format!("has {bases} base values for {classes} classes"),
            ));
        }
        let classes = Classes {
            labels,
            base_values: trees.base_values.clone(),
            post_transform: PostTransform::of(node)?,
            only_class,
            is_never_negative: trees.weights.iter().all(|weight| weight.value >= 0.0),
        };
        Ok(Self::new(trees, Aggregate::Sum, classes))
    }
}

impl Classes {
    /// The class of a row; its sums become scores.
    fn decide(&self, sums: &mut [f64]) -> usize {
        match (self.only_class, &mut *sums) {
            (Some(class), [first, second]) => {
                let sum = if class == 0 { *first } else { *second };
                let sum = sum + self.base_values.last().copied().unwrap_or(0.0);
                let (scores, is_second) = self.of_one(sum);
                [*first, *second] = scores;
                usize::from(is_second)
            }
            (_, sums) => {
                for (sum, base) in sums.iter_mut().zip(&self.base_values) {
                    *sum += base;
                }
                let class = largest(sums);
                self.post_transform.apply(sums);
                class
            }
        }
    }

    /// The scores of two classes from the sum of the second, and whether it is the class.
    fn of_one(&self, sum: f64) -> ([f64; 2], bool) {
        match (self.post_transform, self.is_never_negative) {
            (PostTransform::Logistic, _) => ([sigmoid(-sum), sigmoid(sum)], sum > 0.0),
            // Two base values mean that the sum is no probability.
            (_, true) if self.base_values.len() < 2 => ([1.0 - sum, sum], sum > 0.5),
            _ => {
                let mut scores = [-sum, sum];
                if self.base_values.len() == 2 {
                    self.post_transform.apply(&mut scores);
                }
                (scores, sum > 0.0)
            }
        }
    }
}

impl Outcome for Classes {
    const NAME: &'static str = NAME;
    const OUTPUTS: usize = 2;

    fn outputs(&self, rows: &TDim) -> Vec<Shaped> {
        self.labels.outputs(rows, self.labels.len())
    }

    fn tensors(&self, mut scores: Vec<f64>) -> TractResult<Vec<Tensor>> {
        let width = self.labels.len();
        let rows = scores.chunks_exact_mut(width);
        let classes: Vec<usize> = rows.map(|row| self.decide(row)).collect();
        let scores: Vec<f32> = scores.iter().map(|score| *score as f32).collect();
        self.labels.tensors(&classes, &scores, width)
    }
}

#[cfg(test)]
#[path = "classifier_tests.rs"]
mod tests;
