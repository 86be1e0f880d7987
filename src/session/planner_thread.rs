//! Threads with a deep stack for planning, which recurses with the depth of a statement and must not block tokio's threads.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::error::{Result, SqlState, sql_err};

/// Twice the stack that the deepest statement within the limits needs in a build without optimisation.
const STACK_BYTES: usize = 64 << 20;
/// Permits for the statements planned at once. A statement that outlasts its deadline keeps its permit until its thread
/// ends.
static PLANNERS: Semaphore = Semaphore::const_new(8);

/// Runs `work` on its own thread, for at most `time_max`.
///
/// # Errors
/// The errors of `work`; if `work` takes longer, or panics.
pub(crate) async fn on_planner_thread<T: Send + 'static>(
    time_max: Option<Duration>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match time_max {
        Some(time) => match tokio::time::timeout(time, spawn_planner(work)).await {
            Ok(result) => result,
            Err(_) => Err(sql_err(
                SqlState::TooComplex,
                format!(
                    "planning the statement took longer than {} s; make it simpler",
                    time.as_secs()
                ),
            )),
        },
        None => spawn_planner(work).await,
    }
}

async fn spawn_planner<T: Send + 'static>(
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
            // The receiver of a cancelled statement is gone.
            let _ = sender.send(runtime.block_on(work));
        })
        .map_err(|error| failed(&format!("cannot start a thread for planning: {error}")))?;
    result.await.unwrap_or_else(|_| {
        Err(failed(
            "planning the statement ended in a panic, which is a bug",
        ))
    })
}
