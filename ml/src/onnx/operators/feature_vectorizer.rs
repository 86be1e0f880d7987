//! `FeatureVectorizer`: the features of all inputs beside each other.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractResult};

use super::own::{Built, Operator, Shaped, built, wrong};
use super::tensors::{fixed, single, singles};

const NAME: &str = "FeatureVectorizer";

#[derive(Debug)]
pub(super) struct FeatureVectorizer;

pub(super) fn build(_: &ParsingContext, _: &NodeProto) -> Built {
    built(FeatureVectorizer)
}

impl Operator for FeatureVectorizer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let mut width = 0;
        for input in inputs {
            width += match input.shape.as_slice() {
                [_] => 1,
                [_, features] => fixed(NAME, features)?,
                _ => return Err(wrong(NAME, "takes matrices only")),
            };
        }
        let rows = inputs.first().and_then(|input| input.shape.first());
        let rows = rows.ok_or_else(|| wrong(NAME, "has no input"))?.clone();
        Ok(vec![Shaped::new(DatumType::F32, [rows, width.into()])])
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let rows = inputs.first().and_then(|input| input.shape().first());
        let rows = rows.copied().unwrap_or(0);
        let columns = inputs.iter().map(|input| {
            let width = input.shape().get(1).copied().unwrap_or(1);
            Ok((singles(input)?, width))
        });
        let columns = columns.collect::<TractResult<Vec<_>>>()?;
        let width: usize = columns.iter().map(|(_, width)| width).sum();
        if columns
            .iter()
            .any(|(values, width)| values.len() != rows * width)
        {
            return Err(wrong(NAME, "gets inputs with different numbers of rows"));
        }
        let mut joined = Vec::with_capacity(rows * width);
        for row in 0..rows {
            for (values, width) in &columns {
                joined.extend_from_slice(&values[row * width..][..*width]);
            }
        }
        Ok(vec![single(&[rows, width], &joined)?])
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{tensor1, tensor2};

    use super::super::examples::{close, matrix};
    use super::*;

    #[test]
    fn inputs_of_any_type_become_one_matrix() {
        let inputs = [&matrix(&[[0.5], [1.5]]), &tensor2(&[[2i64, 3], [4, 5]])];
        let outputs = FeatureVectorizer.run(&inputs).unwrap();
        assert_eq!(outputs[0].shape(), [2, 3]);
        close(&outputs[0], &[0.5, 2.0, 3.0, 1.5, 4.0, 5.0]);
        let inputs = [&matrix(&[[0.5], [1.5]]), &tensor1(&[7.0f32])];
        let error = FeatureVectorizer.run(&inputs).unwrap_err().to_string();
        assert!(error.contains("different numbers of rows"), "{error}");
    }
}
