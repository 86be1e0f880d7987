//! `SVMRegressor`: a weighted sum of kernels.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractResult};

use super::attributes::floats;
use super::own::{Built, Operator, Shaped, built, wrong};
use super::post_transform::PostTransform;
use super::svm::SupportVectors;
use super::tensors::{only, single};

const NAME: &str = "SVMRegressor";

#[derive(Debug)]
pub(super) struct SvmRegressor {
    vectors: SupportVectors,
    coefficients: Vec<f32>,
    rho: f64,
    /// Whether the output is 1 for a positive sum, and else -1.
    is_one_class: bool,
}

pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> Built {
    built(SvmRegressor::read(node)?)
}

impl SvmRegressor {
    pub(super) fn read(node: &NodeProto) -> TractResult<Self> {
        let count: usize = node.get_attr_opt("n_supports")?.unwrap_or(0);
        let vectors = SupportVectors::of(node, count)?;
        let coefficients = floats(node, "coefficients")?;
        let rho = floats(node, "rho")?;
        let fits = coefficients.len() == count && rho.len() == 1;
        if !fits || PostTransform::of(node)? != PostTransform::None {
            return Err(wrong(
                NAME,
                format!(
                    "has {} coefficients and {} offsets for {count} support vectors, or a post_transform",
                    coefficients.len(),
                    rho.len()
                ),
            ));
        }
        Ok(Self {
            vectors,
            coefficients,
            rho: rho[0].into(),
            is_one_class: node.get_attr_opt::<i64>("one_class")?.unwrap_or(0) != 0,
        })
    }
}

impl Operator for SvmRegressor {
    fn name(&self) -> &'static str {
        NAME
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let input = only(NAME, inputs)?;
        self.vectors.check(input)?;
        let shape = [input.shape[0].clone(), 1.into()];
        Ok(vec![Shaped::new(DatumType::F32, shape)])
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let mut outputs = Vec::new();
        self.vectors.for_each_row(only(NAME, inputs)?, |kernels| {
            let terms = self.coefficients.iter().zip(kernels);
            let terms = terms.map(|(coefficient, kernel)| f64::from(coefficient * kernel));
            let sum = self.rho + terms.sum::<f64>();
            outputs.push(match self.is_one_class {
                true if sum > 0.0 => 1.0,
                true => -1.0,
                false => sum as f32,
            });
        })?;
        Ok(vec![single(&[outputs.len(), 1], &outputs)?])
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::AttributeProto;

    use super::super::examples::{close, integer, matrix, node, numbers, text};
    use super::*;

    fn attributes(kernel: &str) -> Vec<AttributeProto> {
        vec![
            text("kernel_type", kernel),
            numbers("kernel_params", &[0.5, 0.1, 3.0]),
            numbers("support_vectors", &[1.0, 0.0, -1.0, 2.0, 0.5, 0.5]),
            numbers("coefficients", &[1.0, -0.5, 2.0]),
            numbers("rho", &[0.25]),
            integer("n_supports", 3),
        ]
    }

    fn outputs(attributes: &[AttributeProto]) -> Tensor {
        let regressor = SvmRegressor::read(&node(NAME, attributes)).unwrap();
        let input = matrix(&[[1.0, 2.0], [0.0, -1.0]]);
        regressor.run(&[&input]).unwrap().remove(0)
    }

    /// The numbers are those of onnxruntime 1.32.
    #[test]
    fn sums_of_each_kernel_are_those_of_onnxruntime() {
        for (kernel, expected) in [
            ("LINEAR", [2.75, 0.25]),
            ("POLY", [-0.353_75, 0.608_75]),
            ("RBF", [0.890_677_3, 1.187_52]),
            ("SIGMOID", [1.708_354_5, 0.410_046_88]),
        ] {
            close(&outputs(&attributes(kernel)), &expected);
        }
        let mut one_class = attributes("LINEAR");
        one_class.push(integer("one_class", 1));
        close(&outputs(&one_class), &[1.0, 1.0]);
    }

    #[test]
    fn coefficients_fit_the_support_vectors() {
        for (at, wrong) in [
            (0, text("kernel_type", "COSINE")),
            (1, numbers("kernel_params", &[0.5])),
            (2, numbers("support_vectors", &[1.0])),
            (3, numbers("coefficients", &[1.0])),
            (4, numbers("rho", &[])),
            (5, integer("n_supports", 0)),
        ] {
            let mut attributes = attributes("RBF");
            attributes[at] = wrong;
            assert!(
                SvmRegressor::read(&node(NAME, &attributes)).is_err(),
                "{at}"
            );
        }
    }
}
