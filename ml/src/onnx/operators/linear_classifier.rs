//! `LinearClassifier`: the class with the largest weighted sum of the features. tract's own operator knows no text labels.

use std::sync::Arc;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{Tensor, TractResult};

use super::attributes::floats;
use super::class_labels::{ClassLabels, largest};
use super::linear::Linear;
use super::own::{Built, Operator, Shaped, built, wrong};
use super::post_transform::PostTransform;
use super::tensors::only;
use crate::nn::sigmoid;

const NAME: &str = "LinearClassifier";

#[derive(Debug)]
pub(super) struct LinearClassifier {
    linear: Linear,
    labels: ClassLabels,
    post_transform: PostTransform,
}

pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> Built {
    built(LinearClassifier::read(node)?)
}

impl LinearClassifier {
    pub(super) fn read(node: &NodeProto) -> TractResult<Self> {
        let labels = ClassLabels::of(node, "classlabels_ints")?;
        // One score for two classes is that of the second.
        let scores = match floats(node, "intercepts")?.len() {
            0 => labels.len(),
            intercepts => intercepts,
        };
        if scores.max(2) != labels.len() {
            return Err(wrong(
                NAME,
                format!("has {scores} scores for {} classes", labels.len()),
            ));
        }
        Ok(Self {
            linear: Linear::of(node, scores)?,
            labels,
            post_transform: PostTransform::of(node)?,
        })
    }
}

impl Operator for LinearClassifier {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output_count(&self) -> usize {
        2
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let input = only(NAME, inputs)?;
        self.linear.check(input)?;
        Ok(self.labels.outputs(&input.shape[0], self.labels.len()))
    }

    fn prepared(&self, inputs: &[Shaped]) -> TractResult<Option<Arc<dyn Operator>>> {
        let narrowed = self.linear.narrowed(only(NAME, inputs)?)?;
        Ok(narrowed.map(|linear| {
            let classifier = Self {
                linear,
                labels: self.labels.clone(),
                post_transform: self.post_transform,
            };
            Arc::new(classifier) as Arc<dyn Operator>
        }))
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let mut sums = self.linear.sums(only(NAME, inputs)?)?;
        let (mut classes, mut scores) = (Vec::new(), Vec::new());
        for row in sums.chunks_mut(self.linear.scores) {
            if let [score] = row {
                classes.push(usize::from(*score > 0.0));
                let second = match self.post_transform {
                    PostTransform::Logistic => sigmoid(*score),
                    _ => *score,
                };
                scores.extend([(1.0 - second) as f32, second as f32]);
                continue;
            }
            classes.push(largest(row));
            self.post_transform.apply(row);
            scores.extend(row.iter().map(|score| *score as f32));
        }
        self.labels.tensors(&classes, &scores, self.labels.len())
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{DatumType, tensor1};

    use super::super::examples::{close, integers, matrix, node, numbers, text, texts};
    use super::*;

    #[test]
    fn classes_and_scores_are_those_of_onnxruntime() {
        let weights = [
            numbers("coefficients", &[1.0, -1.0, 0.5, 0.25, -1.0, 2.0]),
            numbers("intercepts", &[0.1, 0.2, -0.3]),
            text("post_transform", "SOFTMAX"),
        ];
        let labels = texts("classlabels_strings", &["a", "b", "c"]);
        let attributes = [&weights[..], &[labels][..]].concat();
        let classifier = LinearClassifier::read(&node(NAME, &attributes)).unwrap();
        let input = matrix(&[[1.0, 2.0], [3.0, -1.0], [0.0, 0.0]]);
        let outputs = classifier.run(&[&input]).unwrap();
        let expected = ["c", "a", "b"].map(str::to_owned);
        assert_eq!(outputs[0], tensor1(&expected));
        close(
            &outputs[1],
            &[
                0.021_851_044,
                0.178_439_33,
                0.799_709_56,
                0.933_938_86,
                0.065_983_93,
                7.725_925e-5,
                0.360_296_64,
                0.398_189_34,
                0.241_514_06,
            ],
        );
    }

    #[test]
    fn one_score_is_that_of_the_second_of_two_classes() {
        let attributes = [
            numbers("coefficients", &[1.0, -1.0]),
            numbers("intercepts", &[0.25]),
            integers("classlabels_ints", &[-1, 1]),
        ];
        let classifier = LinearClassifier::read(&node(NAME, &attributes)).unwrap();
        let outputs = classifier
            .run(&[&matrix(&[[1.0, 1.0], [0.0, 1.0]])])
            .unwrap();
        assert_eq!(outputs[0], tensor1(&[1i64, -1]));
        close(&outputs[1], &[0.75, 0.25, 1.75, -0.75]);
    }

    #[test]
    fn coefficients_fit_the_classes_and_the_features() {
        let read = |coefficients: &[f32], intercepts: &[f32]| {
            let attributes = [
                numbers("coefficients", coefficients),
                numbers("intercepts", intercepts),
                integers("classlabels_ints", &[0, 1, 2]),
            ];
            LinearClassifier::read(&node(NAME, &attributes))
        };
        let error = read(&[1.0; 5], &[0.0; 3]).unwrap_err().to_string();
        assert!(
            error.contains("5 coefficients and 3 intercepts for 3 scores"),
            "{error}"
        );
        let error = read(&[1.0; 6], &[0.0; 2]).unwrap_err().to_string();
        assert!(error.contains("2 scores for 3 classes"), "{error}");
        let input = Shaped::new(DatumType::F32, [1.into(), 3.into()]);
        let classifier = read(&[1.0; 6], &[0.0; 3]).unwrap();
        let error = classifier.outputs(&[input]).unwrap_err().to_string();
        assert_eq!(error, "LinearClassifier takes 2 features, and gets 3");
        // With fewer features the first coefficients count: 0.5 * 1 + 0.25, 0.5 * -1 - 0.5 and 0.5 * 2.
        let classifier = read(&[1.0, -1.0, 2.0, 7.0, 8.0, 9.0], &[0.25, -0.5, 0.0]).unwrap();
        let input = Shaped::new(DatumType::F32, [1.into(), 1.into()]);
        let narrowed = classifier.prepared(&[input]).unwrap().unwrap();
        let outputs = narrowed.run(&[&matrix(&[[0.5]])]).unwrap();
        close(&outputs[1], &[0.75, -1.0, 1.0]);
    }
}
