//! Vectors as an output of a model: the port, and the column.

use candle_core::Tensor;

use crate::data::inputs::RowReport;
use crate::data::signature::{Port, PortKind};
use crate::model::vectors::{vector_column, vector_type};
use crate::model::{Outputs, Wanted};
use crate::{Error, Result};

/// The column of vectors.
const EMBEDDING: &str = "embedding";

/// The output of vectors of this width.
pub(super) fn vector_port(width: usize) -> Port {
    Port {
        name: EMBEDDING.into(),
        data_type: vector_type(width),
        kind: PortKind::Vector { width },
    }
}

/// The outputs of a model that computes nothing but vectors `[rows, width]`.
///
/// # Errors
/// [`Error::Internal`] for other tensors.
pub(super) fn vector_outputs(
    computed: &[Tensor],
    report: RowReport,
    wanted: &Wanted,
) -> Result<Outputs> {
    let [vectors] = computed else {
        let heads = computed.len();
        let message = format!("{heads} outputs of a model of texts");
        return Err(Error::Internal(message));
    };
    let column = vector_column(vectors, report.valid.as_ref())?;
    Ok(Outputs {
        columns: vec![column; wanted.outputs.len()],
        scores: vec![],
        report,
    })
}

/// The rows of `x` `[rows, width]`, each of length 1; a row of zeros stays, as in PyTorch's `normalize`.
pub(super) fn of_length_one(x: &Tensor) -> Result<Tensor> {
    let lengths = x.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?;
    Ok(x.broadcast_div(&lengths)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_vector_has_length_one_and_zeros_stay_zeros() {
        let x = [[3f32, 4.0], [0.0, 0.0], [0.0, -1e-3]];
        let x = Tensor::new(&x, &Device::Cpu).unwrap();
        let found: Vec<Vec<f32>> = of_length_one(&x).unwrap().to_vec2().unwrap();
        assert_eq!(found[1], [0.0, 0.0]);
        // torch.nn.functional.normalize(x)
        for (found, expected) in found
            .iter()
            .flatten()
            .zip([0.6f32, 0.8, 0.0, 0.0, 0.0, -1.0])
        {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
