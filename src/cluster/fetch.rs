//! [`FetchExec`]: makes a connection that breaks while rows of an earlier stage are read an error that is repeated.
//!
//! Ballista reports an executor that cannot be reached, and the scheduler computes its rows again. A connection that breaks
//! in the middle is an error of Arrow's IPC there, which would fail the job. As an error of input and output, the scheduler
//! repeats the task, which then finds that the executor is gone.

use std::fmt;
use std::io;
use std::sync::Arc;

use ballista_core::error::BallistaError;
use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::StreamExt;

use crate::error::Result;
use crate::plan::display::write_name;
use crate::plan::one_input::one_input;

/// An operator above a reader of an earlier stage. It has no metrics, so the length of their list stays right.
#[derive(Debug)]
pub(super) struct FetchExec {
    input: Arc<dyn ExecutionPlan>,
}

impl FetchExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input }
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(input)))
    }
}

impl DisplayAs for FetchExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, format, "FetchExec")
    }
}

impl ExecutionPlan for FetchExec {
    fn name(&self) -> &str {
        "FetchExec"
    }

    one_input!(in_order);

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = input.schema();
        let stream = input.map(|batch| batch.map_err(broken_err));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// The error of a connection that broke, as one that the scheduler repeats.
fn broken_err(error: DataFusionError) -> DataFusionError {
    match error.find_root() {
        DataFusionError::ArrowError(inner, _)
            if matches!(
                **inner,
                ArrowError::IpcError(_) | ArrowError::ExternalError(_) | ArrowError::IoError(..)
            ) =>
        {
            let broken = io::Error::new(io::ErrorKind::BrokenPipe, error.to_string());
            DataFusionError::External(Box::new(BallistaError::IoError(broken)))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::super::errors::is_lost_input;
    use super::*;

    #[test]
    fn a_connection_that_breaks_is_lost_input_and_a_wrong_value_is_not() {
        let of = |error: ArrowError| broken_err(DataFusionError::ArrowError(Box::new(error), None));
        let broken = of(ArrowError::IpcError("h2 protocol error".into()));
        assert!(is_lost_input(&broken), "{broken}");
        assert!(is_lost_input(&DataFusionError::Shared(Arc::new(broken))));
        let wrong = of(ArrowError::DivideByZero);
        assert!(!is_lost_input(&wrong), "{wrong}");
    }
}
