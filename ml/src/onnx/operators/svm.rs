//! [`SupportVectors`]: the kernels of a row with all support vectors.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{Tensor, TractResult};

use super::attributes::{floats, text};
use super::own::{Shaped, wrong};
use super::tensors::{check_width, singles, transposed};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    Linear,
    Polynomial,
    Rbf,
    Sigmoid,
}

#[derive(Debug)]
pub(super) struct SupportVectors {
    operator: String,
    kernel: Kernel,
    gamma: f32,
    coefficient: f32,
    degree: f32,
    pub(super) count: usize,
    features: usize,
    /// `[features, count]`, so that the vectors of one feature are beside each other.
    vectors: Vec<f32>,
}

impl SupportVectors {
    /// So many support vectors of a node.
    ///
    /// # Errors
    /// If the node has none, or its attributes do not fit them.
    pub(super) fn of(node: &NodeProto, count: usize) -> TractResult<Self> {
        let operator = node.op_type.clone();
        let kernel = match text(node, "kernel_type", "LINEAR")? {
            "LINEAR" => Kernel::Linear,
            "POLY" => Kernel::Polynomial,
            "RBF" => Kernel::Rbf,
            "SIGMOID" => Kernel::Sigmoid,
            other => return Err(wrong(&operator, format!("has the kernel \"{other}\""))),
        };
        let parameters = floats(node, "kernel_params")?;
        let [gamma, coefficient, degree] = match parameters.as_slice() {
            [] => [0.0; 3],
            [gamma, coefficient, degree] => [*gamma, *coefficient, *degree],
            _ => return Err(wrong(&operator, "does not have three kernel_params")),
        };
        let given = floats(node, "support_vectors")?;
        let features = given.len().checked_div(count).unwrap_or(0);
        if features == 0 || features * count != given.len() {
            return Err(wrong(
                &operator,
                format!("has {} numbers for {count} support vectors", given.len()),
            ));
        }
        Ok(Self {
            operator,
            kernel,
            gamma,
            coefficient,
            degree,
            count,
            features,
            vectors: transposed(&given, features),
        })
    }

    /// # Errors
    /// If the input has another number of features.
    pub(super) fn check(&self, input: &Shaped) -> TractResult<()> {
        check_width(&self.operator, input, self.features)
    }

    /// Calls `each` with the kernels of each row, one for each support vector.
    pub(super) fn for_each_row(
        &self,
        input: &Tensor,
        mut each: impl FnMut(&[f32]),
    ) -> TractResult<()> {
        let values = singles(input)?;
        let mut kernels = vec![0.0; self.count];
        for row in values.chunks_exact(self.features) {
            self.kernels(row, &mut kernels);
            each(&kernels);
        }
        Ok(())
    }

    fn kernels(&self, row: &[f32], kernels: &mut [f32]) {
        kernels.fill(0.0);
        let is_distance = self.kernel == Kernel::Rbf;
        for (value, vectors) in row.iter().zip(self.vectors.chunks_exact(self.count)) {
            for (kernel, vector) in kernels.iter_mut().zip(vectors) {
                *kernel += match is_distance {
                    true => (value - vector) * (value - vector),
                    false => value * vector,
                };
            }
        }
        let (gamma, coefficient, degree) = (self.gamma, self.coefficient, self.degree);
        let kernels = kernels.iter_mut();
        match self.kernel {
            Kernel::Linear => {}
            Kernel::Polynomial => {
                kernels.for_each(|k| *k = (gamma * *k + coefficient).powf(degree))
            }
            Kernel::Rbf => kernels.for_each(|k| *k = (-gamma * *k).exp()),
            Kernel::Sigmoid => kernels.for_each(|k| *k = (gamma * *k + coefficient).tanh()),
        }
    }
}
