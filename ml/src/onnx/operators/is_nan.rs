//! `IsNaN`, also of double-precision numbers, which that of tract does not take.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractResult};

use super::own::{Built, Operator, Shaped, built, wrong};
use super::tensors::{doubles, only};

const NAME: &str = "IsNaN";

#[derive(Debug)]
struct IsNan;

pub(super) fn build(_: &ParsingContext, _: &NodeProto) -> Built {
    built(IsNan)
}

impl Operator for IsNan {
    fn name(&self) -> &'static str {
        NAME
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let input = only(NAME, inputs)?;
        if !input.datum_type.is_float() {
            let problem = format!("takes floats, and gets {:?}", input.datum_type);
            return Err(wrong(NAME, problem));
        }
        let shape = input.shape.iter().cloned();
        Ok(vec![Shaped::new(DatumType::Bool, shape)])
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(NAME, inputs)?;
        let numbers = doubles(input)?;
        let are_nan: Vec<bool> = numbers.iter().map(|number| number.is_nan()).collect();
        Ok(vec![Tensor::from_shape(input.shape(), &are_nan)?])
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::*;

    #[test]
    fn numbers_of_both_precisions_are_compared() {
        let expected = tensor1(&[false, true, false]);
        let double = tensor1(&[1.0, f64::NAN, f64::INFINITY]);
        assert_eq!(
            IsNan.run(&[&double]).unwrap(),
            std::slice::from_ref(&expected)
        );
        let single = tensor1(&[1.0f32, f32::NAN, f32::INFINITY]);
        assert_eq!(IsNan.run(&[&single]).unwrap(), [expected]);
    }
}
