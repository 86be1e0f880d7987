//! [`in_own_task`]: work for which others wait, in a task of its own.
//!
//! A reader of several streams looks at one of them at a time: a join reads one input first, an ordered merge the input with the
//! smallest row. A future goes on only while its reader looks at it. So a future that holds a permit, or fills a cell for
//! others, keeps everybody waiting for the permit or the cell while its reader looks elsewhere; for ever, if the other stream is among
//! those who wait. A task goes on in any case.

use datafusion::common::runtime::SpawnedTask;

use crate::error::{Result, SqlState, sql_err};

/// The result of this work. The work is dropped with this future. A panic of the work is one of this future.
///
/// # Errors
/// Those of the work; `Internal` if the process ends meanwhile.
pub(crate) async fn in_own_task<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let ended = SpawnedTask::spawn(work).join_unwind().await;
    ended.map_err(|_| sql_err(SqlState::Internal, "a computation ended with its process"))?
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn work_that_nobody_looks_at_gives_its_permit_back_when_it_ends_or_is_dropped() {
        let permits = Arc::new(Semaphore::new(1));
        let work = |length: Duration| {
            let permits = Arc::clone(&permits);
            in_own_task(async move {
                let _permit = permits.acquire().await.unwrap();
                tokio::time::sleep(length).await;
                Ok(())
            })
        };
        let mut short = Box::pin(work(Duration::from_millis(1)));
        assert!((&mut short).now_or_never().is_none());
        let next = tokio::time::timeout(Duration::from_secs(60), work(Duration::ZERO)).await;
        next.unwrap().unwrap();
        let mut endless = Box::pin(work(Duration::MAX));
        let brief = Duration::from_millis(20);
        assert!(tokio::time::timeout(brief, &mut endless).await.is_err());
        drop(endless);
        let next = tokio::time::timeout(Duration::from_secs(60), work(Duration::ZERO)).await;
        next.unwrap().unwrap();
        drop(short);
    }
}
