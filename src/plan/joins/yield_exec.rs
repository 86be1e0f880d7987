//! [`YieldExec`]: an operator that makes joins without keys yield to other tasks.
//!
//! Such a join computes for minutes without a point where it can be cancelled or other tasks can run. The operator above
//! the join yields now and then. A join with a condition may process a whole batch of one side and all rows of the other
//! without any output; an operator below that join cuts the batches into pieces of some tens of milliseconds.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, replace_children_if_necessary,
};
use futures::{Stream, StreamExt};

use crate::error::Result;
use crate::plan::display::write_name;
use crate::plan::one_input::one_input;

/// The number of rows of the first piece; the time of each piece decides the size of the next.
const ROWS_FIRST: usize = 1;
const SHORT: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_millis(50);

/// Puts a [`YieldExec`] around each join without keys.
pub(crate) fn with_yields(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let changed = plan.transform_up(|plan| {
        let other = yielding(Arc::clone(&plan))?;
        let is_other = !Arc::ptr_eq(&plan, &other);
        Ok(Transformed::new_transformed(other, is_other))
    })?;
    Ok(changed.data)
}

/// Puts a [`YieldExec`] around an operator if it is a join without keys.
pub(crate) fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let has_condition = plan.downcast_ref::<NestedLoopJoinExec>().is_some();
    if !has_condition && plan.downcast_ref::<CrossJoinExec>().is_none() {
        return Ok(plan);
    }
    let mut children: Vec<_> = plan.children().into_iter().map(Arc::clone).collect();
    let plan = match children.pop().filter(|_| has_condition) {
        Some(probed) => {
            children.push(YieldExec::around(probed, true));
            replace_children_if_necessary(plan, children)?
        }
        None => plan,
    };
    Ok(YieldExec::around(plan, false))
}

#[derive(Debug)]
struct YieldExec {
    input: Arc<dyn ExecutionPlan>,
    cuts: bool,
    properties: Arc<PlanProperties>,
}

impl YieldExec {
    fn around(input: Arc<dyn ExecutionPlan>, cuts: bool) -> Arc<dyn ExecutionPlan> {
        let properties = Arc::clone(input.properties());
        Arc::new(Self {
            input,
            cuts,
            properties,
        })
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Self::around(input, self.cuts))
    }
}

impl DisplayAs for YieldExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, format, "YieldExec")
    }
}

impl ExecutionPlan for YieldExec {
    fn name(&self) -> &'static str {
        "YieldExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    one_input!();

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        if !self.cuts {
            let began_at = None;
            return Ok(Box::pin(Turns { input, began_at }));
        }
        Ok(Box::pin(Pieces {
            input,
            rest: None,
            rows: ROWS_FIRST,
            given_at: None,
        }))
    }
}

/// A stream of batches that yields after each long turn.
struct Turns {
    input: SendableRecordBatchStream,
    began_at: Option<Instant>,
}

impl Stream for Turns {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let began_at = *self.began_at.get_or_insert_with(Instant::now);
        if began_at.elapsed() > SHORT {
            self.began_at = None;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.input.poll_next_unpin(context)
    }
}

impl RecordBatchStream for Turns {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

/// A stream of pieces of batches that yields after each piece that took long.
struct Pieces {
    input: SendableRecordBatchStream,
    rest: Option<RecordBatch>,
    /// The number of rows of the next piece.
    rows: usize,
    /// When the last piece was emitted, if the stream has not yielded since.
    given_at: Option<Instant>,
}

impl Stream for Pieces {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(given_at) = self.given_at.take() {
            let took = given_at.elapsed();
            if took < SHORT {
                self.rows = self.rows.saturating_mul(2);
            } else {
                if took > LONG {
                    self.rows = (self.rows / 2).max(1);
                }
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match futures::ready!(self.input.poll_next_unpin(context)) {
                Some(Ok(batch)) => batch,
                ended => return Poll::Ready(ended),
            },
        };
        let rows = self.rows.min(batch.num_rows());
        if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        self.given_at = Some(Instant::now());
        Poll::Ready(Some(Ok(batch.slice(0, rows))))
    }
}

impl RecordBatchStream for Pieces {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
