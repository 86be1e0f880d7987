//! [`PostTransform`]: what a classifier or regressor does with its scores.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::TractResult;

use super::attributes::text;
use super::own::wrong;
use crate::nn::{sigmoid, softmax};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PostTransform {
    None,
    Logistic,
    Softmax,
    /// Softmax over the scores that are not zero.
    SoftmaxZero,
}

impl PostTransform {
    pub(super) fn of(node: &NodeProto) -> TractResult<Self> {
        match text(node, "post_transform", "NONE")? {
            "NONE" => Ok(Self::None),
            "LOGISTIC" => Ok(Self::Logistic),
            "SOFTMAX" => Ok(Self::Softmax),
            "SOFTMAX_ZERO" => Ok(Self::SoftmaxZero),
            other => Err(wrong(
                &node.op_type,
                format!("has the post_transform \"{other}\", which is not supported"),
            )),
        }
    }

    /// The transformed scores of a row.
    pub(super) fn apply(self, scores: &mut [f64]) {
        match self {
            Self::None => {}
            Self::Logistic => scores.iter_mut().for_each(|score| *score = sigmoid(*score)),
            Self::Softmax => {
                softmax(scores);
            }
            Self::SoftmaxZero => softmax_zero(scores),
        }
    }
}

fn softmax_zero(scores: &mut [f64]) {
    const ZERO: f64 = 1e-7;
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let is_zero = |score: f64| score.abs() <= ZERO;
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        match is_zero(*score) {
            true => *score *= (-max).exp(),
            false => {
                *score = (*score - max).exp();
                sum += *score;
            }
        }
    }
    if sum > 0.0 {
        scores.iter_mut().for_each(|score| *score /= sum);
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{node, text as attribute};
    use super::*;

    fn applied(name: &str, scores: &[f64]) -> Vec<f64> {
        let node = node("LinearClassifier", &[attribute("post_transform", name)]);
        let mut scores = scores.to_vec();
        PostTransform::of(&node).unwrap().apply(&mut scores);
        scores
    }

    /// The numbers are those of a LinearClassifier in onnxruntime 1.32.
    #[test]
    fn scores_are_transformed_as_in_onnxruntime() {
        let scores = [1.0, -2.0, 0.0];
        for (name, expected) in [
            ("NONE", [1.0, -2.0, 0.0]),
            ("LOGISTIC", [0.731_058_6, 0.119_202_92, 0.5]),
            ("SOFTMAX", [0.705_384_5, 0.035_119_03, 0.259_496_46]),
            ("SOFTMAX_ZERO", [0.952_574_13, 0.047_425_87, 0.0]),
        ] {
            let found = applied(name, &scores);
            let is_close = found
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(is_close, "{name}: {found:?}");
        }
        assert_eq!(applied("LOGISTIC", &[-1e9, 1e9]), [0.0, 1.0]);
        let probit = node("LinearClassifier", &[attribute("post_transform", "PROBIT")]);
        let error = PostTransform::of(&probit).unwrap_err().to_string();
        assert!(
            error.contains("\"PROBIT\", which is not supported"),
            "{error}"
        );
    }
}
