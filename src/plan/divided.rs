//! [`divided`]: a batch in parts, for operators whose results are much larger than their rows.

use datafusion::arrow::record_batch::RecordBatch;

use crate::error::Result;

/// A batch in parts of at most `rows_max` rows, without a copy.
pub(crate) fn divided(batch: Result<RecordBatch>, rows_max: usize) -> Vec<Result<RecordBatch>> {
    let batch = match batch {
        Ok(batch) if batch.num_rows() > rows_max => batch,
        whole => return vec![whole],
    };
    let rows = batch.num_rows();
    let starts = (0..rows).step_by(rows_max);
    let parts = starts.map(|start| Ok(batch.slice(start, rows_max.min(rows - start))));
    parts.collect()
}
