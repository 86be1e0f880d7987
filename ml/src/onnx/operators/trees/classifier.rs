//! `TreeEnsembleClassifier`: the class with the largest sum of what the leaves say.
//!
//! Of two classes, an ensemble may have weights for one only. Its sum is then the score of the second class: a probability if no
//! weight is negative, else a number whose sign decides.

use std::sync::Arc;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractResult};

use super::super::attributes::{ClassLabels, tensor};
use super::super::linear_classifier::largest;
use super::super::own::{Built, Operator, Shaped, built, wrong};
use super::super::post_transform::{PostTransform, logistic};
use super::super::tensors::{only, single, width};
use super::ensemble::{Aggregate, Compared, Ensemble};
use super::nodes::{Load, Trees};

const NAME: &str = "TreeEnsembleClassifier";

/// The classifier before the type of its features is known.
#[derive(Debug)]
pub(super) struct Classifier {
    trees: Trees,
    classes: Arc<Classes>,
}

/// The classifier for features of type `T`.
#[derive(Debug)]
struct Prepared<T> {
    ensemble: Ensemble<T>,
    features: usize,
    classes: Arc<Classes>,
}

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
    let load = |name: &str| -> TractResult<Option<Tensor>> {
        let tensor = tensor(node, name)?;
        tensor.map(|tensor| context.load_tensor(tensor)).transpose()
    };
    built(Classifier::read(node, &load)?)
}

impl Classifier {
    pub(super) fn read(node: &NodeProto, load: Load<'_>) -> TractResult<Self> {
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
        Ok(Self {
            trees,
            classes: Arc::new(classes),
        })
    }

    fn prepare<T: Compared>(&self) -> TractResult<Arc<dyn Operator>> {
        let ensemble = Ensemble::<T>::of(&self.trees, Aggregate::Sum);
        Ok(Arc::new(Prepared {
            ensemble: ensemble.ok_or_else(|| wrong(NAME, "has too many nodes"))?,
            features: self.trees.features,
            classes: Arc::clone(&self.classes),
        }))
    }
}

impl Classes {
    fn outputs(&self, features: usize, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let input = only(NAME, inputs)?;
        let (found, needed) = (width(NAME, input)?, features.max(1));
        if found < needed {
            return Err(wrong(
                NAME,
                format!("takes {needed} features, and gets {found}"),
            ));
        }
        let rows = || input.shape[0].clone();
        Ok(vec![
            Shaped::new(self.labels.datum_type(), [rows()]),
            Shaped::new(DatumType::F32, [rows(), self.labels.len().into()]),
        ])
    }

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
            (PostTransform::Logistic, _) => ([logistic(-sum), logistic(sum)], sum > 0.0),
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

impl Operator for Classifier {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_count(&self) -> usize {
        2
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        self.classes.outputs(self.trees.features, inputs)
    }

    fn prepared(&self, inputs: &[Shaped]) -> TractResult<Option<Arc<dyn Operator>>> {
        let input = only(NAME, inputs)?;
        let is_double = self.trees.is_double || input.datum_type == DatumType::F64;
        Ok(Some(match is_double {
            true => self.prepare::<f64>()?,
            false => self.prepare::<f32>()?,
        }))
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        self.prepare::<f64>()?.run(inputs)
    }
}

impl<T: Compared> Operator for Prepared<T> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_count(&self) -> usize {
        2
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        self.classes.outputs(self.features, inputs)
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(NAME, inputs)?;
        let width = input.shape().get(1).copied().unwrap_or(0);
        if width < self.features.max(1) {
            return Err(wrong(NAME, format!("gets {width} features")));
        }
        let classes = &self.classes;
        let mut sums = self.ensemble.scores(&T::values(input)?, width);
        let rows = sums.chunks_exact_mut(classes.labels.len());
        let labels: Vec<usize> = rows.map(|row| classes.decide(row)).collect();
        let scores: Vec<f32> = sums.iter().map(|score| *score as f32).collect();
        let shape = [labels.len(), classes.labels.len()];
        Ok(vec![
            classes.labels.tensor(&labels)?,
            single(&shape, &scores)?,
        ])
    }
}

#[cfg(test)]
#[path = "classifier_tests.rs"]
mod tests;
