//! `Sigmoid`, also of double-precision numbers, which that of tract does not take.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::nn;
use tract_onnx::tract_hir::internal::{
    DatumType, Expansion, InferenceResult, OutletId, Solver, SpecialOps, StaticName, TVec, Tensor,
    TensorProxy, TractResult, TypedModel, expand,
};

use super::own::{Built, Operator, Shaped, node_of, wrong};
use super::tensors::{doubles, only};

const NAME: &str = "Sigmoid";

#[derive(Debug, Clone)]
struct Sigmoid;

pub(super) fn build(_: &ParsingContext, _: &NodeProto) -> Built {
    Ok((expand(Sigmoid), vec![]))
}

impl Expansion for Sigmoid {
    fn name(&self) -> StaticName {
        NAME.into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let ([input], [output]) = (inputs, outputs) else {
            return Err(wrong(NAME, "takes one input"));
        };
        solver.equals(&output.shape, &input.shape)?;
        solver.equals(&output.datum_type, &input.datum_type)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let of = model.outlet_fact(*only(NAME, inputs)?)?.datum_type;
        match of == DatumType::F64 {
            true => model.wire_node(prefix, node_of(OfDoubles), inputs),
            false => model.wire_node(prefix, nn::sigmoid(), inputs),
        }
    }
}

/// The function on double-precision numbers.
#[derive(Debug)]
struct OfDoubles;

impl Operator for OfDoubles {
    fn name(&self) -> &'static str {
        NAME
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        Ok(vec![only(NAME, inputs)?.clone()])
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(NAME, inputs)?;
        let values = doubles(input)?.into_iter();
        let values: Vec<f64> = values.map(|x| 1.0 / (1.0 + (-x).exp())).collect();
        Ok(vec![Tensor::from_shape(input.shape(), &values)?])
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::*;

    /// The values are those of onnxruntime 1.32.
    #[test]
    fn double_precision_numbers_are_as_in_onnxruntime() {
        let input = tensor1(&[0.0, 1.0, -30.0, 800.0, -800.0, f64::NAN]);
        let outputs = OfDoubles.run(&[&input]).unwrap();
        let found = doubles(&outputs[0]).unwrap();
        let expected = [0.5, 0.7310585786300049, 9.348077867343818e-14, 1.0, 0.0];
        for (value, expected) in found.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-15, "{value}");
        }
        assert!(found[5].is_nan());
    }
}
