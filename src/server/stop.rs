//! [`Stop`]: asks a running statement to end, and waits for the way in which it really ends.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use datafusion::common::DataFusionError;
use tokio_util::sync::CancellationToken;

use crate::error::{Result, SqlError, SqlState, report, sql_err};

/// How long a statement that was asked to end may take to end; a publication may be under way.
const GRACE: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 10_000 });

/// Asks a statement to end. The statement ends with the error of the first request, unless it was published before it
/// noticed the request.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<Request>);

#[derive(Debug, Default)]
struct Request {
    token: CancellationToken,
    error: OnceLock<SqlError>,
}

impl Stop {
    /// Asks the statement to end with this error.
    pub(super) fn ask(&self, error: &DataFusionError) {
        // An earlier request counts.
        let _ = self.0.error.set(report(error));
        self.0.token.cancel();
    }

    /// Returns when the statement is asked to end.
    pub(super) async fn asked(&self) -> DataFusionError {
        self.0.token.cancelled().await;
        match self.0.error.get() {
            Some(error) => error.clone().into(),
            None => cancelled(),
        }
    }

    /// The outcome of the statement's work, which is asked to end after `limit`. If the work was asked to end and goes on,
    /// the error says that the outcome is unknown.
    pub(super) async fn within<T>(
        &self,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut work = pin!(work);
        let error = tokio::select! {
            biased;
            outcome = &mut work => return outcome,
            error = self.asked_within(limit) => error,
        };
        let outcome = tokio::time::timeout(GRACE, work).await;
        outcome.unwrap_or_else(|_| Err(unknown(&error)))
    }

    async fn asked_within(&self, limit: Option<Duration>) -> DataFusionError {
        if let Some(limit) = limit
            && tokio::time::timeout(limit, self.asked()).await.is_err()
        {
            self.ask(&timed_out(limit));
        }
        self.asked().await
    }
}

/// Asks a statement to end when this is dropped, unless its work is over.
pub(super) struct StopOnDrop<'a> {
    pub(super) stop: &'a Stop,
    pub(super) is_over: bool,
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.stop.ask(&cancelled());
        }
    }
}

pub(super) fn cancelled() -> DataFusionError {
    sql_err(SqlState::Cancelled, "cancelled")
}

pub(super) fn timed_out(limit: Duration) -> DataFusionError {
    let message = format!("the statement took longer than {} s", limit.as_secs());
    sql_err(SqlState::TimedOut, message)
}

fn unknown(error: &DataFusionError) -> DataFusionError {
    let mut error = report(error);
    // Not `Cancelled`: nobody may conclude that the statement took no effect.
    error.state = SqlState::TimedOut;
    error.message = format!(
        "{}; it did not end within {} s, so look whether it took effect",
        error.message,
        GRACE.as_secs()
    );
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T: std::fmt::Debug>(outcome: Result<T>) -> SqlState {
        report(&outcome.unwrap_err()).state
    }

    #[tokio::test]
    async fn work_that_ends_well_after_the_request_is_a_success() {
        let stop = Stop::default();
        let publishing = async {
            stop.asked().await;
            tokio::time::sleep(GRACE / 10).await;
            Ok(7)
        };
        let outcome = stop.within(Some(GRACE / 10), publishing).await;
        assert_eq!(outcome.unwrap(), 7);
    }

    #[tokio::test]
    async fn the_first_request_gives_the_error() {
        let stop = Stop::default();
        let obeying = async { Err::<(), _>(stop.asked().await) };
        let asking = async {
            stop.ask(&cancelled());
            stop.ask(&timed_out(GRACE));
        };
        let limit = Some(Duration::from_secs(60));
        let (outcome, ()) = tokio::join!(stop.within(limit, obeying), asking);
        assert_eq!(code(outcome), SqlState::Cancelled);
        let late = stop.within(limit, async { Err::<(), _>(stop.asked().await) });
        assert_eq!(code(late.await), SqlState::Cancelled);
    }

    #[tokio::test]
    async fn work_that_does_not_end_has_an_unknown_outcome() {
        let stop = Stop::default();
        let limit = Some(GRACE / 10);
        let error = stop
            .within(limit, std::future::pending::<Result<()>>())
            .await
            .unwrap_err();
        let error = report(&error);
        assert_eq!(error.state, SqlState::TimedOut);
        assert!(error.message.ends_with("look whether it took effect"));
    }
}
