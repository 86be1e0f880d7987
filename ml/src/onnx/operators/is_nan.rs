//! `IsNaN` and `IsInf`, also of double-precision numbers, which those of tract do not take.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractResult};

use super::own::{Built, Operator, Shaped, built};
use super::tensors::{doubles, only, only_floats};

/// Which numbers are found.
#[derive(Debug)]
enum Is {
    Nan,
    Infinite { positive: bool, negative: bool },
}

pub(super) fn nan(_: &ParsingContext, _: &NodeProto) -> Built {
    built(Is::Nan)
}

pub(super) fn infinite(_: &ParsingContext, node: &NodeProto) -> Built {
    let detects =
        |name: &str| -> TractResult<bool> { Ok(node.get_attr_opt::<i64>(name)?.unwrap_or(1) != 0) };
    built(Is::Infinite {
        positive: detects("detect_positive")?,
        negative: detects("detect_negative")?,
    })
}

impl Is {
    fn finds(&self, number: f64) -> bool {
        match self {
            Self::Nan => number.is_nan(),
            Self::Infinite { positive, negative } => {
                (*positive && number == f64::INFINITY) || (*negative && number == f64::NEG_INFINITY)
            }
        }
    }
}

impl Operator for Is {
    fn name(&self) -> &'static str {
        match self {
            Self::Nan => "IsNaN",
            Self::Infinite { .. } => "IsInf",
        }
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let shape = only_floats(self.name(), inputs)?.shape.iter().cloned();
        Ok(vec![Shaped::new(DatumType::Bool, shape)])
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(self.name(), inputs)?;
        let numbers = doubles(input)?;
        let found: Vec<bool> = numbers.iter().map(|number| self.finds(*number)).collect();
        Ok(vec![Tensor::from_shape(input.shape(), &found)?])
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::*;

    fn check(is: &Is, expected: [bool; 4]) {
        let expected = tensor1(&expected);
        let double = tensor1(&[1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
        let found = is.run(&[&double]).unwrap();
        assert_eq!(found, std::slice::from_ref(&expected), "{is:?}");
        let single = tensor1(&[1.0f32, f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        assert_eq!(is.run(&[&single]).unwrap(), [expected], "{is:?}");
    }

    #[test]
    fn numbers_of_both_precisions_are_compared() {
        check(&Is::Nan, [false, true, false, false]);
        let infinite = |positive, negative| Is::Infinite { positive, negative };
        check(&infinite(true, true), [false, false, true, true]);
        check(&infinite(true, false), [false, false, true, false]);
        check(&infinite(false, true), [false, false, false, true]);
    }
}
