//! Functions of a number that tract computes in single precision only, or otherwise than onnxruntime.
//!
//! To add one: a row of [`FUNCTIONS`], and a line in `list`.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use candle_core::cpu::erf::erf_f64;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::{math, nn};
use tract_onnx::tract_hir::internal::{
    DatumType, Expansion, InferenceResult, OutletId, Solver, SpecialOps, StaticName, TVec, Tensor,
    TensorProxy, TractResult, TypedModel, expand,
};

use super::attributes::text;
use super::own::{Built, Operator, Shaped, node_of, wrong};
use super::tensors::{doubles, only, only_floats};

/// A function of a number.
#[derive(Debug)]
struct Function {
    /// The name of the operator.
    name: &'static str,
    /// The attribute `alpha` of a node that does not have it.
    alpha: f32,
    /// The function of a number and of `alpha`.
    of: fn(f64, f64) -> f64,
    /// The operator of tract for other types than double precision; `None` if it has none that computes the same.
    of_tract: fn(f32) -> Option<ElementWiseOp>,
}

const FUNCTIONS: &[Function] = &[
    Function {
        name: "Erf",
        alpha: 0.0,
        of: |x, _| erf_f64(x),
        of_tract: |_| Some(math::erf()),
    },
    Function {
        name: "Gelu",
        alpha: 0.0,
        of: |x, _| 0.5 * x * (1.0 + erf_f64(x * FRAC_1_SQRT_2)),
        of_tract: |_| Some(nn::gelu_exact::gelu_exact()),
    },
    Function {
        name: GELU_OF_TANH,
        alpha: 0.0,
        of: |x, _| {
            let inner = x + 0.044715 * x * x * x;
            0.5 * x * (1.0 + (FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * inner).tanh())
        },
        of_tract: |_| Some(nn::gelu_approximate::gelu_approximate(false)),
    },
    Function {
        name: "HardSwish",
        alpha: 0.0,
        of: |x, _| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        of_tract: |_| Some(nn::hard_swish()),
    },
    Function {
        name: "LeakyRelu",
        alpha: 0.01,
        of: |x, alpha| if x < 0.0 { alpha * x } else { x },
        of_tract: |alpha| Some(nn::leaky_relu(alpha)),
    },
    Function {
        name: "Round",
        alpha: 0.0,
        of: |x, _| x.round_ties_even(),
        of_tract: |_| Some(math::round_half_to_even()),
    },
    Function {
        name: "Sigmoid",
        alpha: 0.0,
        of: |x, _| sigmoid(x),
        of_tract: |_| Some(nn::sigmoid()),
    },
    // That of tract is infinite, or the logarithm of the largest number, where the exponential is.
    Function {
        name: "Softplus",
        alpha: 0.0,
        of: |x, _| x.max(0.0) + (-x.abs()).exp().ln_1p(),
        of_tract: |_| None,
    },
    // That of tract has no alpha.
    Function {
        name: "Swish",
        alpha: 1.0,
        of: |x, alpha| x * sigmoid(alpha * x),
        of_tract: |alpha| (alpha == 1.0).then(nn::silu::silu),
    },
];

/// `Gelu` with the attribute `approximate = "tanh"`.
const GELU_OF_TANH: &str = "Gelu of tanh";

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> Built {
    Ok((expand(ElementWise::read(node)?), vec![]))
}

/// A function with the attribute of a node.
#[derive(Debug, Clone, Copy)]
struct ElementWise {
    function: &'static Function,
    alpha: f32,
}

impl ElementWise {
    fn read(node: &NodeProto) -> TractResult<Self> {
        let name = node.op_type.as_str();
        let is_of_tanh = name == "Gelu" && text(node, "approximate", "none")? == "tanh";
        let name = if is_of_tanh { GELU_OF_TANH } else { name };
        let function = FUNCTIONS.iter().find(|function| function.name == name);
        let function = function.ok_or_else(|| wrong(name, "is no function of a number"))?;
        let alpha = node.get_attr_opt("alpha")?.unwrap_or(function.alpha);
        Ok(Self { function, alpha })
    }
}

impl Expansion for ElementWise {
    fn name(&self) -> StaticName {
        self.function.name.into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let ([input], [output]) = (inputs, outputs) else {
            return Err(wrong(self.function.name, "takes one input"));
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
        let input = *only(self.function.name, inputs)?;
        let is_double = model.outlet_fact(input)?.datum_type == DatumType::F64;
        let of_tract = (self.function.of_tract)(self.alpha);
        match of_tract.filter(|_| !is_double) {
            Some(of_tract) => model.wire_node(prefix, of_tract, inputs),
            None => model.wire_node(prefix, node_of(*self), inputs),
        }
    }
}

impl Operator for ElementWise {
    fn name(&self) -> &'static str {
        self.function.name
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        Ok(vec![only_floats(self.function.name, inputs)?.clone()])
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(self.function.name, inputs)?;
        let alpha = f64::from(self.alpha);
        let values = doubles(input)?.into_iter();
        let values: Vec<f64> = values.map(|x| (self.function.of)(x, alpha)).collect();
        let output = Tensor::from_shape(input.shape(), &values)?;
        Ok(vec![output.cast_to_dt(input.datum_type())?.into_owned()])
    }
}

#[cfg(test)]
#[path = "element_wise_tests.rs"]
mod tests;
