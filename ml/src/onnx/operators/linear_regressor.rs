//! `LinearRegressor`: weighted sums of the features.

use std::sync::Arc;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractResult};

use super::linear::Linear;
use super::own::{Built, Operator, Shaped, built, wrong};
use super::post_transform::PostTransform;
use super::tensors::{only, single};

const NAME: &str = "LinearRegressor";

#[derive(Debug)]
pub(super) struct LinearRegressor {
    linear: Linear,
}

pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> Built {
    built(LinearRegressor::read(node)?)
}

impl LinearRegressor {
    pub(super) fn read(node: &NodeProto) -> TractResult<Self> {
        let targets = node.get_attr_opt("targets")?.unwrap_or(1);
        match PostTransform::of(node)? {
            PostTransform::None => Ok(Self {
                linear: Linear::of(node, targets)?,
            }),
            other => Err(wrong(
                NAME,
                format!("has the post_transform {other:?}, which is not supported"),
            )),
        }
    }
}

impl Operator for LinearRegressor {
    fn name(&self) -> &'static str {
        NAME
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let input = only(NAME, inputs)?;
        self.linear.check(input)?;
        let shape = [input.shape[0].clone(), self.linear.scores.into()];
        Ok(vec![Shaped::new(DatumType::F32, shape)])
    }

    fn prepared(&self, inputs: &[Shaped]) -> TractResult<Option<Arc<dyn Operator>>> {
        let narrowed = self.linear.narrowed(only(NAME, inputs)?)?;
        Ok(narrowed.map(|linear| Arc::new(Self { linear }) as Arc<dyn Operator>))
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let sums = self.linear.sums(only(NAME, inputs)?)?;
        let sums: Vec<f32> = sums.iter().map(|sum| *sum as f32).collect();
        let shape = [sums.len() / self.linear.scores, self.linear.scores];
        Ok(vec![single(&shape, &sums)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{close, integer, matrix, node, numbers, text};
    use super::*;

    #[test]
    fn sums_are_those_of_onnxruntime() {
        let attributes = [
            numbers("coefficients", &[1.0, -1.0, 0.5, 0.25]),
            numbers("intercepts", &[0.5, -2.0]),
            integer("targets", 2),
        ];
        let regressor = LinearRegressor::read(&node(NAME, &attributes)).unwrap();
        let outputs = regressor
            .run(&[&matrix(&[[1.0, 2.0], [3.0, -1.0]])])
            .unwrap();
        assert_eq!(outputs[0].shape(), [2, 2]);
        close(&outputs[0], &[-0.5, -1.0, 4.5, -0.75]);
        let attributes = [
            numbers("coefficients", &[1.0]),
            text("post_transform", "LOGISTIC"),
        ];
        let error = LinearRegressor::read(&node(NAME, &attributes)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("Logistic, which is not supported"),
            "{error}"
        );
    }
}
