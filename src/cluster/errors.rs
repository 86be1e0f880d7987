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

/// The error of a task whose rows were lost, as the scheduler carries it. If the scheduler gives up after some tries, the
/// text of its error has our code.
pub(super) fn lost_input_err(error: DataFusionError) -> DataFusionError {
    match fetch_failure(&error) {
        Some(failure) => DataFusionError::External(Box::new(failure)),
        None => error,
    }
}

fn fetch_failure(error: &DataFusionError) -> Option<BallistaError> {
    let DataFusionError::External(inner) = error.find_root() else {
        return None;
    };
    match inner.downcast_ref::<BallistaError>()? {
        BallistaError::FetchFailed(executor, stage, partition, text) => {
            let error = SqlError {
                state: SqlState::NoResources,
                message: format!("the rows on executor {executor} cannot be read: {text}"),
                position: None,
            };
            let (executor, text) = (executor.clone(), error_to_text(&error));
            Some(BallistaError::FetchFailed(
                executor, *stage, *partition, text,
            ))
        }
        BallistaError::DataFusionError(inner) => fetch_failure(inner),
        _ => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_cannot_be_read_have_a_code_after_the_last_try_of_the_scheduler() {
        let failed = BallistaError::FetchFailed("e1".into(), 2, 3, "no route".into());
        let wrapped =
            BallistaError::DataFusionError(Box::new(DataFusionError::External(Box::new(failed))));
        let error = lost_input_err(DataFusionError::External(Box::new(wrapped)));
        assert!(is_lost_input(&error));
        let DataFusionError::External(inner) = &error else {
            panic!("{error}");
        };
        let inner = inner.downcast_ref::<BallistaError>();
        let Some(BallistaError::FetchFailed(executor, 2, 3, text)) = inner else {
            panic!("{inner:?}");
        };
        assert_eq!(executor, "e1");
        let text = format!("Stage 3 has failed 4 times, most recent failure reason: {text:?}");
        let found = report(&job_err(&text));
        assert_eq!(found.state, SqlState::NoResources);
        assert_eq!(
            found.message,
            "the rows on executor e1 cannot be read: no route"
        );
    }
}
