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

/// The rows of `x` `[rows, width]`, each of length 1.
pub(super) fn of_length_one(x: &Tensor) -> Result<Tensor> {
    let lengths = x.sqr()?.sum_keepdim(1)?.sqrt()?;
    Ok(x.broadcast_div(&lengths)?)
}
