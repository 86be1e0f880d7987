//! [`Linear`]: linear layers of the same vectors, whose outputs lie beside each other.

use super::stored::{Columns, Matrix, Tensors, add};
use crate::Result;

/// One or several matrices of the same inputs, with a bias or without.
#[derive(Debug)]
pub(super) struct Linear {
    matrices: Vec<Matrix>,
    /// Of all outputs; empty without a bias.
    bias: Vec<f32>,
    outputs: usize,
}

/// A matrix to take.
#[derive(Debug)]
pub(super) struct LinearSpec<'a> {
    /// The name of the layer, without `.weight`.
    pub(super) name: &'a str,
    pub(super) outputs: usize,
    pub(super) has_bias: bool,
}

impl Linear {
    /// Takes the matrices of these layers of vectors with `inputs` numbers; either all or none have a bias.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for tensors that do not fit.
    pub(super) fn take(
        tensors: &mut Tensors,
        inputs: usize,
        specs: &[LinearSpec<'_>],
    ) -> Result<Self> {
        let (mut matrices, mut bias) = (vec![], vec![]);
        for spec in specs {
            let weight = format!("{}.weight", spec.name);
            matrices.push(tensors.matrix(&weight, [spec.outputs, inputs])?);
            if spec.has_bias {
                bias.extend(tensors.vector(&format!("{}.bias", spec.name), spec.outputs)?);
            }
        }
        Ok(Self {
            outputs: specs.iter().map(|spec| spec.outputs).sum(),
            matrices,
            bias,
        })
    }

    /// A layer with this matrix and without a bias.
    pub(super) fn of(matrix: Matrix) -> Self {
        Self {
            outputs: matrix.outputs(),
            matrices: vec![matrix],
            bias: vec![],
        }
    }

    /// The numbers of an output.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The outputs `[rows, outputs]` for `x` `[rows, inputs]`.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    pub(super) fn forward(&self, x: &[f32]) -> Result<Vec<f32>> {
        let inputs = self.matrices.first().map_or(1, Matrix::inputs);
        let mut y = vec![0.0; x.len() / inputs * self.outputs];
        let mut first = 0;
        for matrix in &self.matrices {
            let all = self.outputs;
            matrix.product(x, &mut y, Columns { first, all })?;
            first += matrix.outputs();
        }
        if !self.bias.is_empty() {
            y.chunks_exact_mut(self.outputs)
                .for_each(|y| add(y, &self.bias));
        }
        Ok(y)
    }
}
