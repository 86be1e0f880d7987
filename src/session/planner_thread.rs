//! Planning away from tokio's threads: it recurses with the depth of a statement, and takes as long as it likes.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::error::{Result, SqlState, sql_err};

/// What the deepest statement that the limits allow needs in a build without optimisation, twice.
const STACK_BYTES: usize = 64 << 20;
/// Statements planned at once. One that is planned beyond its time keeps its place until it ends.
static PLANNERS: Semaphore = Semaphore::const_new(8);

/// Runs `work` on a thread of its own, for at most this long.
///
/// # Errors
/// Those of the work; if it takes longer, or panics.
pub(crate) async fn planned<T: Send + 'static>(
    time_max: Option<Duration>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match time_max {
        Some(time) => match tokio::time::timeout(time, on_thread(work)).await {
            Ok(result) => result,
            Err(_) => Err(sql_err(
                SqlState::TooComplex,
                format!(
                    "planning the statement took longer than {} s; make it simpler",
                    time.as_secs()
                ),
            )),
        },
        None => on_thread(work).await,
    }
}

async fn on_thread<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let failed = |what: &str| sql_err(SqlState::Internal, what);
    let permit = PLANNERS
        .acquire()
        .await
        .map_err(|_| failed("planning has ended"))?;
    let (sender, result) = oneshot::channel();
    let runtime = Handle::current();
    std::thread::Builder::new()
        .name("vatic-planner".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let _permit = permit;
            // Nobody waits for the plan of a statement that was cancelled.
            let _ = sender.send(runtime.block_on(work));
        })
        .map_err(|error| failed(&format!("no thread to plan on: {error}")))?;
    result.await.unwrap_or_else(|_| {
        Err(failed(
            "planning the statement ended in a panic, which is a bug",
        ))
    })
}
