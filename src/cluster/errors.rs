//! Conversion of errors between tasks, scheduler and engine.

use ballista_core::error::BallistaError;
use datafusion::common::DataFusionError;

use crate::error::{
    SqlError, SqlState, arrow_report, error_from_text, error_to_text, report, sql_err,
};

/// Whether rows of an earlier stage were lost with their machine. The scheduler then computes them again, unreported.
pub(super) fn is_lost_input(error: &DataFusionError) -> bool {
    let DataFusionError::External(inner) = error.find_root() else {
        return false;
    };
    match inner.downcast_ref::<BallistaError>() {
        Some(BallistaError::FetchFailed(..) | BallistaError::IoError(_)) => true,
        Some(BallistaError::DataFusionError(inner)) => is_lost_input(inner),
        _ => false,
    }
}

/// The error of a task as users see it, without the wrappers of Ballista.
pub(super) fn task_report(error: &DataFusionError) -> SqlError {
    if let DataFusionError::External(inner) = error.find_root() {
        match inner.downcast_ref() {
            Some(BallistaError::DataFusionError(inner)) => return task_report(inner),
            Some(BallistaError::ArrowError(inner)) => return arrow_report(inner),
            _ => {}
        }
    }
    report(error)
}

/// The error of a task as the scheduler carries it: text, after which the scheduler does not retry the task.
pub(super) fn wire_err(error: &SqlError) -> DataFusionError {
    DataFusionError::Execution(error_to_text(error))
}

/// The texts of Ballista for a job that was cancelled, and for a job without executors. Ballista reports a failed job
/// as text only.
const CANCELLED: &str = "Cancelled";
const WITHOUT_EXECUTORS: &str = "all executors were lost";

/// The error in the text of a job that failed.
pub(super) fn job_err(text: &str) -> DataFusionError {
    match error_from_text(text) {
        Some(error) => error.into(),
        None if text.contains(CANCELLED) => {
            sql_err(SqlState::Cancelled, "the statement was cancelled")
        }
        None if text.contains(WITHOUT_EXECUTORS) => {
            let message =
                "the cluster lost all executors, and none has joined since; start one, then retry";
            sql_err(SqlState::NoResources, message)
        }
        None => {
            let message = format!("the cluster failed: {text}");
            sql_err(SqlState::Internal, message)
        }
    }
}
