//! `Binarizer`: 1 for a number above a threshold, else 0.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractResult};

use super::own::{Built, Operator, Shaped, built};
use super::tensors::{only, single, singles};

const NAME: &str = "Binarizer";

#[derive(Debug)]
pub(super) struct Binarizer {
    threshold: f32,
}

pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> Built {
    built(Binarizer::read(node)?)
}

impl Binarizer {
    pub(super) fn read(node: &NodeProto) -> TractResult<Self> {
        let threshold = node.get_attr_opt("threshold")?.unwrap_or(0.0);
        Ok(Self { threshold })
    }
}

impl Operator for Binarizer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let shape = only(NAME, inputs)?.shape.iter().cloned();
        Ok(vec![Shaped::new(DatumType::F32, shape)])
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(NAME, inputs)?;
        let mut values = singles(input)?;
        for value in &mut values {
            *value = f32::from(u8::from(*value > self.threshold));
        }
        Ok(vec![single(input.shape(), &values)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{close, matrix, node, number};
    use super::*;

    #[test]
    fn only_numbers_above_the_threshold_are_one() {
        let attributes = [number("threshold", 1.0)];
        let binarizer = Binarizer::read(&node(NAME, &attributes)).unwrap();
        let input = matrix(&[[0.5, 1.0, 1.5], [f32::NAN, f32::INFINITY, -2.0]]);
        let outputs = binarizer.run(&[&input]).unwrap();
        close(&outputs[0], &[0.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
    }
}
