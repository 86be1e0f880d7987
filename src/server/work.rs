//! [`Work`]: the statement or statements that a client wants to run.

use datafusion::arrow::record_batch::RecordBatch;

use crate::sql::Parameters;

/// The statement or statements to run.
pub(super) enum Work {
    /// One statement.
    Text(String),
    /// A prepared statement with each row of its values inserted; the results follow each other.
    Bound(Vec<String>),
    /// An INSERT statement over several bound rows, run as one write.
    Rows {
        parameters: Parameters,
        rows: RecordBatch,
    },
}
