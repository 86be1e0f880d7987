//! [`Answer`]: the effect and rows of a statement, and small streams for results.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use crate::error::Result;
use crate::sql::Effect;

/// The effect and the rows of a statement.
pub(crate) struct Answer {
    pub(crate) effect: Effect,
    pub(crate) rows: SendableRecordBatchStream,
}

/// A stream without columns and rows.
pub(crate) fn empty() -> SendableRecordBatchStream {
    rows(RecordBatch::new_empty(Arc::new(Schema::empty())))
}

/// A stream of one batch.
pub(crate) fn rows(batch: RecordBatch) -> SendableRecordBatchStream {
    let schema = batch.schema();
    Box::pin(RecordBatchStreamAdapter::new(
        schema,
        futures::stream::once(async { Ok(batch) }),
    ))
}

/// A stream of one batch, computed on demand.
pub(crate) fn later(
    work: impl Future<Output = Result<RecordBatch>> + Send + 'static,
    schema: Arc<Schema>,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(
        schema,
        futures::stream::once(work),
    ))
}
