//! Conversion of errors between tasks, scheduler and engine.

use std::io;

use ballista_core::error::BallistaError;
use datafusion::common::DataFusionError;

use crate::error::{
    SqlError, SqlState, arrow_report, error_from_text, error_to_text, is_full, report, sql_err,
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
    match with_code(&error) {
        Some(failure) => DataFusionError::External(Box::new(failure)),
        None => error,
    }
}

fn with_code(error: &DataFusionError) -> Option<BallistaError> {
    let DataFusionError::External(inner) = error.find_root() else {
        return None;
    };
    let text_of = |state: SqlState, message: String| {
        error_to_text(&SqlError {
            state,
            message,
            position: None,
        })
    };
    match inner.downcast_ref::<BallistaError>()? {
        BallistaError::FetchFailed(executor, stage, partition, text) => {
            let message = format!("the rows on executor {executor} cannot be read: {text}");
            let text = text_of(SqlState::NoResources, message);
            let executor = executor.clone();
            Some(BallistaError::FetchFailed(
                executor, *stage, *partition, text,
            ))
        }
        BallistaError::IoError(broken) => {
            let (state, message) = match is_full(broken.kind()) {
                // A task writes its rows to the disk of its executor; another executor may have room.
                true => (
                    SqlState::Io,
                    format!(
                        "the rows of a stage cannot be written: {broken}; free space where executors have their --work-dir"
                    ),
                ),
                false => (
                    SqlState::NoResources,
                    format!("the rows of an earlier stage cannot be read: {broken}"),
                ),
            };
            let coded = io::Error::new(broken.kind(), text_of(state, message));
            Some(BallistaError::IoError(coded))
        }
        BallistaError::DataFusionError(inner) => with_code(inner),
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

/// The whole text of Ballista for a job that was cancelled, and the beginning of the one for a job without executors. Ballista
/// reports a failed job as text only, which may quote any words: a call that was broken off has the code "Cancelled" too.
const CANCELLED: &str = "Cancelled";
const WITHOUT_EXECUTORS: &str = "all executors were lost";

/// The error in the text of a job that failed.
pub(super) fn job_err(text: &str) -> DataFusionError {
    match error_from_text(text) {
        Some(error) => error.into(),
        None if text == CANCELLED => sql_err(SqlState::Cancelled, "the statement was cancelled"),
        None if text.starts_with(WITHOUT_EXECUTORS) => {
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
    fn a_job_is_cancelled_only_if_its_whole_text_says_so() {
        let state = |text: &str| report(&job_err(text)).state;
        assert_eq!(state("Cancelled"), SqlState::Cancelled);
        let gone = "all executors were lost and no executor re-registered within 25s";
        assert_eq!(state(gone), SqlState::NoResources);
        // The call of an executor that ended, which is repeated on another one.
        for broken in [
            "Job failed due to stage 1 failed: GrpcError(Status { code: Cancelled, message: \"operation was canceled\" })",
            "Task failed due to runtime execution error: column \"all executors were lost\"",
        ] {
            assert_eq!(state(broken), SqlState::Internal, "{broken}");
        }
    }

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

    #[test]
    fn a_connection_that_breaks_each_time_has_a_code_after_the_last_try_of_the_scheduler() {
        let broken = io::Error::new(io::ErrorKind::BrokenPipe, "h2 protocol error");
        let broken = BallistaError::IoError(broken);
        let error = lost_input_err(DataFusionError::External(Box::new(broken)));
        assert!(is_lost_input(&error));
        let text = format!(
            "Task failed due to IO error: {:?}",
            BallistaError::from(error)
        );
        let text = format!("Task 1 failed 4 times, most recent failure reason: {text:?}");
        let found = report(&job_err(&text));
        assert_eq!(found.state, SqlState::NoResources);
        assert!(
            found.message.ends_with("h2 protocol error"),
            "{}",
            found.message
        );
    }

    #[test]
    fn a_full_disk_of_an_executor_is_not_a_lost_connection() {
        let full = BallistaError::IoError(io::ErrorKind::StorageFull.into());
        let error = lost_input_err(DataFusionError::External(Box::new(full)));
        let text = format!(
            "Task failed due to IO error: {:?}",
            BallistaError::from(error)
        );
        let found = report(&job_err(&text));
        assert_eq!(found.state, SqlState::Io);
        assert!(found.message.contains("cannot be written"), "{found}");
    }
}
