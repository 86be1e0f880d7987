//! Threads with a deep stack for planning, which recurses with the depth of a statement and must not block tokio's threads.
//!
//! A computation on a thread cannot be interrupted. So a permit to plan belongs to the statement that waits, not to the
//! thread: when the statement ends first, at its deadline or because it is cancelled, another statement gets the permit,
//! and the thread counts as abandoned until it ends. The numbers of both are bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use datafusion::common::DataFusionError;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::error::{Result, SqlState, sql_err};
use crate::testing::stall;

/// Twice the stack that the deepest statement within the limits needs in a build without optimisation.
const STACK_BYTES: usize = 64 << 20;
/// Statements planned at once.
const PLANNERS_MAX: usize = 8;
/// Threads that may still plan for ended statements when another statement is planned. Each takes a core's time, and the
/// pages of its stack that it has used.
const ABANDONED_MAX: usize = 32;

static PLANNERS: Planners = Planners::new(PLANNERS_MAX, ABANDONED_MAX);

/// Runs `work` on its own thread, for at most `time_max`.
///
/// # Errors
/// The errors of `work`; if `work` takes longer, or panics; if too many statements are being planned.
pub(crate) async fn on_planner_thread<T: Send + 'static>(
    time_max: Option<Duration>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    PLANNERS.run(time_max, work).await
}

/// The planner threads of a process. There are never more than both limits together.
#[derive(Debug)]
struct Planners {
    permits: Semaphore,
    /// Threads that plan for statements that have ended.
    abandoned: AtomicUsize,
    abandoned_max: usize,
}

impl Planners {
    const fn new(planners_max: usize, abandoned_max: usize) -> Self {
        Self {
            permits: Semaphore::const_new(planners_max),
            abandoned: AtomicUsize::new(0),
            abandoned_max,
        }
    }

    async fn run<T: Send + 'static>(
        &'static self,
        time_max: Option<Duration>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let acquiring = self.permits.acquire();
        let permit = match time_max {
            Some(time) => tokio::time::timeout(time, acquiring)
                .await
                .map_err(|_| too_many())?,
            None => acquiring.await,
        };
        let permit = permit.map_err(|_| failed("planning has ended"))?;
        if self.abandoned.load(Ordering::Acquire) >= self.abandoned_max {
            return Err(too_many());
        }
        let planning = self.spawn(permit, work);
        match time_max {
            Some(time) => tokio::time::timeout(time, planning)
                .await
                .unwrap_or_else(|_| Err(too_long(time))),
            None => planning.await,
        }
    }

    async fn spawn<T: Send + 'static>(
        &'static self,
        permit: SemaphorePermit<'static>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (sender, result) = oneshot::channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = PlannerThread {
            planners: self,
            is_over: Arc::clone(&is_over),
        };
        let runtime = Handle::current();
        std::thread::Builder::new()
            .name("vatic-planner".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                // A panic drops the thread's side before the sender, so that its statement does not count it as abandoned.
                let (mut sender, thread) = (sender, thread);
                stall::point("planning");
                let planned = runtime.block_on(async {
                    tokio::select! {
                        biased;
                        // An abandoned thread ends at its next wait, such as for a file.
                        () = sender.closed() => None,
                        planned = work => Some(planned),
                    }
                });
                // Before the result is known, so that no statement that got its plan counts a thread as abandoned.
                drop(thread);
                if let Some(planned) = planned {
                    // The receiver of a cancelled statement is gone.
                    let _ = sender.send(planned);
                }
            })
            .map_err(|error| failed(&format!("cannot start a thread for planning: {error}")))?;
        let _waiting = WaitingStatement {
            planners: self,
            is_over,
            _permit: permit,
        };
        result.await.unwrap_or_else(|_| {
            Err(failed(
                "planning the statement ended in a panic, which is a bug",
            ))
        })
    }
}

/// The thread's side of a planning. The side that ends first sets `is_over`.
struct PlannerThread {
    planners: &'static Planners,
    is_over: Arc<AtomicBool>,
}

impl Drop for PlannerThread {
    fn drop(&mut self) {
        let is_abandoned = self.is_over.swap(true, Ordering::AcqRel);
        if is_abandoned {
            self.planners.abandoned.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// The statement's side of a planning.
struct WaitingStatement {
    planners: &'static Planners,
    is_over: Arc<AtomicBool>,
    /// Given back after the thread counts as abandoned, so that the limits hold at every moment.
    _permit: SemaphorePermit<'static>,
}

impl Drop for WaitingStatement {
    fn drop(&mut self) {
        if self.is_over.load(Ordering::Acquire) {
            return;
        }
        // Counted first: the thread may end now and subtract itself.
        let before = self.planners.abandoned.fetch_add(1, Ordering::AcqRel);
        if self.is_over.swap(true, Ordering::AcqRel) {
            self.planners.abandoned.fetch_sub(1, Ordering::AcqRel);
        } else {
            let abandoned = before + 1;
            tracing::warn!(abandoned, "a statement ended before its planning did");
        }
    }
}

fn failed(what: &str) -> DataFusionError {
    sql_err(SqlState::Internal, what)
}

fn too_long(time: Duration) -> DataFusionError {
    let message = format!(
        "planning the statement took longer than {} s; make it simpler",
        time.as_secs()
    );
    sql_err(SqlState::TooComplex, message)
}

fn too_many() -> DataFusionError {
    let message = "too many statements are being planned, or are still being planned although they have ended; try \
                   again later";
    sql_err(SqlState::TooMany, message)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::error::report;

    const SHORT: Option<Duration> = Some(Duration::from_millis(50));
    const LONG: Option<Duration> = Some(Duration::from_secs(60));

    fn planners(planners_max: usize, abandoned_max: usize) -> &'static Planners {
        Box::leak(Box::new(Planners::new(planners_max, abandoned_max)))
    }

    /// Work that blocks its thread until the sender is dropped.
    fn stuck() -> (mpsc::Sender<()>, impl Future<Output = Result<()>> + Send) {
        let (release, released) = mpsc::channel();
        let work = async move {
            // The error says that the sender is gone.
            let _: Result<(), _> = released.recv();
            Ok(())
        };
        (release, work)
    }

    fn code<T: std::fmt::Debug>(planned: Result<T>) -> SqlState {
        report(&planned.unwrap_err()).state
    }

    async fn until_none_is_abandoned(planners: &Planners) {
        while planners.abandoned.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn planning_beyond_its_deadline_gives_its_permit_back() {
        let planners = planners(2, 5);
        let mut releases = Vec::new();
        for _ in 0..4 {
            let (release, work) = stuck();
            releases.push(release);
            assert_eq!(code(planners.run(SHORT, work).await), SqlState::TooComplex);
            assert_eq!(planners.run(LONG, async { Ok(7) }).await.unwrap(), 7);
        }
        assert_eq!(planners.abandoned.load(Ordering::Acquire), 4);
        drop(releases);
        until_none_is_abandoned(planners).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn statements_are_refused_while_too_many_threads_are_abandoned() {
        let planners = planners(2, 3);
        let mut releases = Vec::new();
        for _ in 0..3 {
            let (release, work) = stuck();
            releases.push(release);
            assert_eq!(code(planners.run(SHORT, work).await), SqlState::TooComplex);
        }
        assert_eq!(
            code(planners.run(LONG, async { Ok(()) }).await),
            SqlState::TooMany
        );
        releases.pop();
        while planners.abandoned.load(Ordering::Acquire) > 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        planners.run(LONG, async { Ok(()) }).await.unwrap();
        drop(releases);
        until_none_is_abandoned(planners).await;
        assert_eq!(planners.permits.available_permits(), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_wait_for_a_permit_has_a_deadline_too() {
        let planners = planners(1, 3);
        let (release, work) = stuck();
        let first = planners.run(LONG, work);
        let second = async {
            let refused = planners.run(SHORT, async { Ok(()) }).await;
            drop(release);
            code(refused)
        };
        let (first, second) = tokio::join!(first, second);
        first.unwrap();
        assert_eq!(second, SqlState::TooMany);
        assert_eq!(planners.abandoned.load(Ordering::Acquire), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn planning_that_waits_ends_with_its_statement() {
        let planners = planners(1, 3);
        let endless = planners.run(SHORT, std::future::pending::<Result<()>>());
        assert_eq!(code(endless.await), SqlState::TooComplex);
        until_none_is_abandoned(planners).await;
        planners.run(LONG, async { Ok(()) }).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_ends_its_statement_only() {
        let planners = planners(1, 1);
        let broken = async {
            assert!(std::hint::black_box(false), "on purpose");
            Ok(())
        };
        assert_eq!(code(planners.run(LONG, broken).await), SqlState::Internal);
        planners.run(LONG, async { Ok(()) }).await.unwrap();
        until_none_is_abandoned(planners).await;
    }
}
