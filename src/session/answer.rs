//! [`Answer`]: what a statement gives, and the small streams that answers are made of.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use crate::error::Result;
use crate::sql::Effect;

/// What a statement gives.
pub(crate) struct Answer {
    pub(crate) effect: Effect,
    pub(crate) rows: SendableRecordBatchStream,
}

/// No columns and no rows.
pub(crate) fn empty() -> SendableRecordBatchStream {
    rows(RecordBatch::new_empty(Arc::new(Schema::empty())))
}

/// One batch.
pub(crate) fn rows(batch: RecordBatch) -> SendableRecordBatchStream {
    let schema = batch.schema();
    Box::pin(RecordBatchStreamAdapter::new(
        schema,
        futures::stream::once(async { Ok(batch) }),
    ))
}

/// One batch that is computed when it is asked for.
pub(crate) fn later(
    work: impl Future<Output = Result<RecordBatch>> + Send + 'static,
    schema: Arc<Schema>,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(
        schema,
        futures::stream::once(work),
    ))
}
