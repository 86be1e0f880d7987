//! Threads with a deep stack for planning, which recurses with the depth of a statement and must not block tokio's threads.
//!
//! A computation on a thread cannot be interrupted. So a permit to plan belongs to the statement that waits, not to the
//! thread: when the statement ends first, at its deadline or because it is cancelled, another statement gets the permit,
//! and the thread counts as abandoned until it ends. The numbers of both are bounded, for all clients together and for each
//! ([`PlannerShare`]), so that a client with statements that are hard to plan leaves threads to others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use datafusion::common::DataFusionError;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, oneshot};

use crate::error::{Result, SqlState, sql_err};
use crate::testing::stall;

/// Twice the stack that the deepest statement within the limits needs in a build without optimisation.
const STACK_BYTES: usize = 64 << 20;
/// Statements planned at once.
const PLANNERS_MAX: usize = 8;
/// Threads that may still plan for ended statements when another statement is planned. Each takes a core's time, and the
/// pages of its stack that it has used.
const ABANDONED_MAX: usize = 32;
/// The parts of both that one client may take.
const CLIENT_PLANNERS_MAX: usize = 6;
const CLIENT_ABANDONED_MAX: usize = 8;

static PLANNERS: Planners = Planners::new(PLANNERS_MAX, ABANDONED_MAX);

/// Runs `work` of a client on its own thread, for at most `time_max`.
///
/// # Errors
/// The errors of `work`; if `work` takes longer, or panics; if too many statements are being planned.
pub(super) async fn on_planner_thread<T: Send + 'static>(
    share: &Arc<PlannerShare>,
    time_max: Option<Duration>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    PLANNERS.run(share, time_max, work).await
}

/// The planner threads that one client may have.
#[derive(Debug)]
pub(crate) struct PlannerShare {
    permits: Arc<Semaphore>,
    abandoned: AtomicUsize,
    abandoned_max: usize,
}

impl Default for PlannerShare {
    fn default() -> Self {
        Self::new(CLIENT_PLANNERS_MAX, CLIENT_ABANDONED_MAX)
    }
}

impl PlannerShare {
    fn new(planners_max: usize, abandoned_max: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(planners_max)),
            abandoned: AtomicUsize::new(0),
            abandoned_max,
        }
    }
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
        share: &Arc<PlannerShare>,
        time_max: Option<Duration>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let acquiring = self.acquire(share);
        let permits = match time_max {
            Some(time) => tokio::time::timeout(time, acquiring)
                .await
                .map_err(|_| too_many())?,
            None => acquiring.await,
        };
        let permits = permits?;
        if share.abandoned.load(Ordering::Acquire) >= share.abandoned_max {
            return Err(too_many_of_one());
        }
        if self.abandoned.load(Ordering::Acquire) >= self.abandoned_max {
            return Err(too_many());
        }
        let planning = self.spawn(Arc::clone(share), permits, work);
        match time_max {
            Some(time) => tokio::time::timeout(time, planning)
                .await
                .unwrap_or_else(|_| Err(too_long(time))),
            None => planning.await,
        }
    }

    async fn acquire(&'static self, share: &PlannerShare) -> Result<Permits> {
        let ended = |_| failed("planning has ended");
        // The client's own permit first: the queue for the others has no more statements of one client than may run.
        let own = Arc::clone(&share.permits).acquire_owned();
        let own = own.await.map_err(ended)?;
        let of_all = self.permits.acquire().await.map_err(ended)?;
        Ok(Permits {
            _own: own,
            _of_all: of_all,
        })
    }

    async fn spawn<T: Send + 'static>(
        &'static self,
        share: Arc<PlannerShare>,
        permits: Permits,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (sender, result) = oneshot::channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = PlannerThread {
            planners: self,
            share: Arc::clone(&share),
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
            share,
            is_over,
            _permits: permits,
        };
        result.await.unwrap_or_else(|_| {
            Err(failed(
                "planning the statement ended in a panic, which is a bug",
            ))
        })
    }
}

/// The permits of one planning.
struct Permits {
    _own: OwnedSemaphorePermit,
    _of_all: SemaphorePermit<'static>,
}

/// The thread's side of a planning. The side that ends first sets `is_over`.
struct PlannerThread {
    planners: &'static Planners,
    share: Arc<PlannerShare>,
    is_over: Arc<AtomicBool>,
}

impl Drop for PlannerThread {
    fn drop(&mut self) {
        let is_abandoned = self.is_over.swap(true, Ordering::AcqRel);
        if is_abandoned {
            self.share.abandoned.fetch_sub(1, Ordering::AcqRel);
            self.planners.abandoned.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// The statement's side of a planning.
struct WaitingStatement {
    planners: &'static Planners,
    share: Arc<PlannerShare>,
    is_over: Arc<AtomicBool>,
    /// Given back after the thread counts as abandoned, so that the limits hold at every moment.
    _permits: Permits,
}

impl Drop for WaitingStatement {
    fn drop(&mut self) {
        if self.is_over.load(Ordering::Acquire) {
            return;
        }
        // Counted first: the thread may end now and subtract itself.
        self.share.abandoned.fetch_add(1, Ordering::AcqRel);
        let before = self.planners.abandoned.fetch_add(1, Ordering::AcqRel);
        if self.is_over.swap(true, Ordering::AcqRel) {
            self.share.abandoned.fetch_sub(1, Ordering::AcqRel);
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

fn too_many_of_one() -> DataFusionError {
    let message = "too many statements of this client are still being planned although they have ended; make them \
                   simpler, or try again later";
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

    /// A client that may take all threads.
    fn anyone() -> Arc<PlannerShare> {
        Arc::new(PlannerShare::new(9, 9))
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
            assert_eq!(
                code(planners.run(&anyone(), SHORT, work).await),
                SqlState::TooComplex
            );
            assert_eq!(
                planners
                    .run(&anyone(), LONG, async { Ok(7) })
                    .await
                    .unwrap(),
                7
            );
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
            assert_eq!(
                code(planners.run(&anyone(), SHORT, work).await),
                SqlState::TooComplex
            );
        }
        assert_eq!(
            code(planners.run(&anyone(), LONG, async { Ok(()) }).await),
            SqlState::TooMany
        );
        releases.pop();
        while planners.abandoned.load(Ordering::Acquire) > 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        planners
            .run(&anyone(), LONG, async { Ok(()) })
            .await
            .unwrap();
        drop(releases);
        until_none_is_abandoned(planners).await;
        assert_eq!(planners.permits.available_permits(), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_wait_for_a_permit_has_a_deadline_too() {
        let planners = planners(1, 3);
        let (release, work) = stuck();
        let client = anyone();
        let first = planners.run(&client, LONG, work);
        let second = async {
            let refused = planners.run(&anyone(), SHORT, async { Ok(()) }).await;
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
        let endless = std::future::pending::<Result<()>>();
        let planned = planners.run(&anyone(), SHORT, endless).await;
        assert_eq!(code(planned), SqlState::TooComplex);
        until_none_is_abandoned(planners).await;
        planners
            .run(&anyone(), LONG, async { Ok(()) })
            .await
            .unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_ends_its_statement_only() {
        let planners = planners(1, 1);
        let broken = async {
            assert!(std::hint::black_box(false), "on purpose");
            Ok(())
        };
        assert_eq!(
            code(planners.run(&anyone(), LONG, broken).await),
            SqlState::Internal
        );
        planners
            .run(&anyone(), LONG, async { Ok(()) })
            .await
            .unwrap();
        until_none_is_abandoned(planners).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_with_abandoned_threads_is_refused_and_others_are_not() {
        let planners = planners(4, 9);
        let share = Arc::new(PlannerShare::new(2, 3));
        let mut releases = Vec::new();
        for _ in 0..3 {
            let (release, work) = stuck();
            releases.push(release);
            let planned = planners.run(&share, SHORT, work).await;
            assert_eq!(code(planned), SqlState::TooComplex);
        }
        let refused = planners.run(&share, LONG, async { Ok(()) }).await;
        assert_eq!(code(refused), SqlState::TooMany);
        planners
            .run(&anyone(), LONG, async { Ok(()) })
            .await
            .unwrap();
        drop(releases);
        until_none_is_abandoned(planners).await;
        planners.run(&share, LONG, async { Ok(()) }).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_plans_leaves_permits_to_others() {
        let planners = planners(3, 9);
        let share = Arc::new(PlannerShare::new(2, 9));
        let (one, first) = stuck();
        let (two, second) = stuck();
        let busy = async {
            let first = planners.run(&share, LONG, first);
            let second = planners.run(&share, LONG, second);
            let third = planners.run(&share, SHORT, async { Ok(()) });
            let (first, second, third) = tokio::join!(first, second, third);
            first.and(second).unwrap();
            code(third)
        };
        let other = async {
            planners
                .run(&anyone(), LONG, async { Ok(()) })
                .await
                .unwrap();
            // The third statement has waited in vain by now.
            tokio::time::sleep(2 * SHORT.unwrap()).await;
            drop((one, two));
        };
        let (third, ()) = tokio::join!(busy, other);
        assert_eq!(third, SqlState::TooMany);
    }
}
