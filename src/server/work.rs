//! [`Work`]: what a client asks to be run.

use datafusion::arrow::record_batch::RecordBatch;

use crate::sql::Parameters;

/// What is to be run.
pub(super) enum Work {
    /// One statement.
    Text(String),
    /// A prepared statement with its values, or several rows of them: their results follow each other.
    Bound(Vec<String>),
    /// A statement over rows that are bound to it.
    Rows {
        parameters: Parameters,
        rows: RecordBatch,
    },
}
