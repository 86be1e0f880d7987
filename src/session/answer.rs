//! [`Answer`]: what a statement gives, and the small streams that answers are made of.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{LogicalPlan, Statement as LogicalStatement};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use crate::error::Result;

/// What a statement gives.
pub(crate) struct Answer {
    pub(crate) effect: Effect,
    pub(crate) rows: SendableRecordBatchStream,
}

/// What a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Its rows.
    Rows,
    /// A row about what it made, which happens once, however often the row is fetched.
    Training,
    /// What it changes. Its rows, if it has any, hold a count.
    Change,
}

/// Rows that were asked for.
pub(crate) fn answered(rows: SendableRecordBatchStream) -> Answer {
    let effect = Effect::Rows;
    Answer { effect, rows }
}

/// The count of what was changed, or nothing.
pub(crate) fn changed(rows: SendableRecordBatchStream) -> Answer {
    let effect = Effect::Change;
    Answer { effect, rows }
}

/// What a plan is for.
pub(crate) fn plan_effect(plan: &LogicalPlan) -> Effect {
    match plan {
        LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) => Effect::Change,
        LogicalPlan::Statement(LogicalStatement::Execute(_)) => Effect::Rows,
        LogicalPlan::Statement(_) => Effect::Change,
        _ => Effect::Rows,
    }
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
