//! `ArrayFeatureExtractor`: the elements at some positions of the last dimension. tract's own operator gives its output another
//! number of dimensions.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, TDim, Tensor, TractResult};

use super::own::{Built, Operator, Shaped, built, wrong};
use super::tensors::{doubles, longs, singles, text_tensor, texts};

const NAME: &str = "ArrayFeatureExtractor";

#[derive(Debug)]
pub(super) struct ArrayFeatureExtractor;

pub(super) fn build(_: &ParsingContext, _: &NodeProto) -> Built {
    built(ArrayFeatureExtractor)
}

impl Operator for ArrayFeatureExtractor {
    fn name(&self) -> &'static str {
        NAME
    }

    /// `[…, features]` and positions of any shape give `[…, positions]`; `[features]` gives `[1, positions]`.
    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let [values, positions] = inputs else {
            return Err(wrong(NAME, "takes values and positions"));
        };
        let Some((_, before)) = values.shape.split_last() else {
            return Err(wrong(NAME, "takes no single value"));
        };
        let count: TDim = positions.shape.iter().product();
        let mut shape = match before {
            [] => vec![1.into()],
            before => before.to_vec(),
        };
        shape.push(count);
        // tract's integers for shapes would be cut to 32 bits on their way back.
        let datum_type = match values.datum_type {
            DatumType::TDim => DatumType::I64,
            other => other,
        };
        Ok(vec![Shaped::new(datum_type, shape)])
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [values, positions] = inputs else {
            return Err(wrong(NAME, "takes values and positions"));
        };
        let positions = longs(positions)?;
        let Some((&width, before)) = values.shape().split_last() else {
            return Err(wrong(NAME, "takes no single value"));
        };
        let within = positions.iter().map(|&position| {
            let found = usize::try_from(position).ok().filter(|at| *at < width);
            found.ok_or_else(|| wrong(NAME, format!("takes element {position} of {width}")))
        });
        let positions = within.collect::<TractResult<Vec<usize>>>()?;
        let mut shape = match before {
            [] => vec![1],
            before => before.to_vec(),
        };
        shape.push(positions.len());
        let output = match values.datum_type() {
            DatumType::String => text_tensor(&shape, picked(texts(values)?, width, &positions)),
            DatumType::F32 => {
                Tensor::from_shape(&shape, &picked(&singles(values)?, width, &positions))
            }
            DatumType::F64 => {
                Tensor::from_shape(&shape, &picked(&doubles(values)?, width, &positions))
            }
            DatumType::I64 | DatumType::TDim => {
                Tensor::from_shape(&shape, &picked(&longs(values)?, width, &positions))
            }
            other => {
                let values =
                    Tensor::from_shape(&shape, &picked(&longs(values)?, width, &positions));
                Ok(values?.cast_to_dt(other)?.into_owned())
            }
        };
        Ok(vec![output?])
    }
}

fn picked<T: Clone>(values: &[T], width: usize, positions: &[usize]) -> Vec<T> {
    let rows = values.chunks(width.max(1));
    rows.flat_map(|row| positions.iter().map(|&at| row[at].clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{tensor1, tensor2};

    use super::super::examples::{close, matrix};
    use super::*;

    #[test]
    fn elements_are_picked_with_the_shape_of_onnxruntime() {
        let values = matrix(&[[0.5, 1.5, 2.5], [3.5, 4.5, 5.5]]);
        let outputs = ArrayFeatureExtractor.run(&[&values, &tensor2(&[[2i64, 0]])]);
        let outputs = outputs.unwrap();
        assert_eq!(outputs[0].shape(), [2, 2]);
        close(&outputs[0], &[2.5, 0.5, 5.5, 3.5]);
        let labels = tensor1(&["a".to_owned(), "b".to_owned()]);
        let positions = tensor1(&[1i64, 1, 0]);
        let outputs = ArrayFeatureExtractor.run(&[&labels, &positions]).unwrap();
        assert_eq!(outputs[0].shape(), [1, 3]);
        assert_eq!(texts(&outputs[0]).unwrap(), ["b", "b", "a"]);
        // 2^40 + 1 has more bits than tract's integers for shapes.
        let large = tensor1(&[(1i64 << 40) + 1]);
        let outputs = ArrayFeatureExtractor
            .run(&[&large, &tensor1(&[0i64])])
            .unwrap();
        assert_eq!(outputs[0], tensor2(&[[(1i64 << 40) + 1]]));
    }

    #[test]
    fn positions_are_within_the_features() {
        for position in [-1i64, 3] {
            let values = matrix(&[[0.5, 1.5, 2.5]]);
            let outputs = ArrayFeatureExtractor.run(&[&values, &tensor1(&[position])]);
            let error = outputs.unwrap_err().to_string();
            assert!(
                error.contains(&format!("takes element {position} of 3")),
                "{error}"
            );
        }
    }
}
