//! The models and devices that executors have: each executor reports them once a second on a separate connection, and so
//! learns that the engine is there. The replies carry the engine's orders to the executors' model caches.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::message::{ExecutorReport, FromRank, OrderAnswer, ReportReply, Wire};
use super::orders::{OrderEnd, Orders};
use super::remote_rank::{BEAT, CONNECT_TIMEOUT};
use super::stock::Stock;
use crate::cluster::secure::{Refused, Security};
use crate::model::runtime::{CacheOrder, PinnedVersion};

/// An engine that cannot be reached for this long has ended, or counts this executor as lost.
const ENGINE_SILENCE_MAX: Duration = Duration::from_secs(25);
/// An engine whose machine refuses connections for this long has ended.
const REFUSAL_MAX: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_millis(200);
/// An engine that does not answer an introduction for this long is not there yet.
const INTRODUCTION_MAX: Duration = Duration::from_secs(5);
/// The report of an executor that is silent for this long is forgotten.
const EXECUTOR_SILENCE_MAX: Duration = Duration::from_secs(10);
/// An executor that has stopped reporting for this long does not obey an order any more.
const LEFT_AFTER: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 5_000 });
/// How long an executor that has not reported yet may take to report.
pub(in crate::cluster) const FIRST_REPORT_MAX: Duration = Duration::from_secs(30);
/// The interval between checks for the answer to an order.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The reports of executors, by the id of the executor.
#[derive(Debug)]
pub(in crate::cluster) struct Reports {
    /// The name of this engine.
    engine: String,
    /// The report of each executor, with the number of the connection that brought it.
    told: Mutex<HashMap<String, (u64, ExecutorReport)>>,
    connections: AtomicU64,
    orders: Orders,
}

impl Reports {
    pub(super) fn new() -> Self {
        Self {
            engine: uuid::Uuid::new_v4().to_string(),
            told: Mutex::default(),
            connections: AtomicU64::default(),
            orders: Orders::default(),
        }
    }

    /// The name of this engine.
    pub(in crate::cluster) fn engine(&self) -> &str {
        &self.engine
    }

    /// The report of an executor, if it has sent one.
    pub(in crate::cluster) fn of(&self, executor: &str) -> Option<ExecutorReport> {
        self.lock().get(executor).map(|(_, report)| report.clone())
    }

    /// The executors that report.
    pub(in crate::cluster) fn executors(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// The versions that executors keep loaded.
    pub(in crate::cluster) fn pinned(&self) -> HashSet<PinnedVersion> {
        let all = self.lock();
        let pinned = all.values().flat_map(|(_, report)| &report.pinned);
        pinned.cloned().collect()
    }

    /// Gives an order to an executor, and waits for its end. Dropping the future withdraws the order.
    pub(in crate::cluster) async fn order(&self, executor: &str, order: CacheOrder) -> OrderEnd {
        let given = self.orders.give(executor, order);
        let given_at = Instant::now();
        let mut last_seen = None;
        loop {
            if let Some(outcome) = given.outcome() {
                return OrderEnd::Answered(outcome);
            }
            if self.lock().contains_key(executor) {
                last_seen = Some(Instant::now());
            }
            match last_seen {
                Some(seen_at) if seen_at.elapsed() >= LEFT_AFTER => return OrderEnd::Left,
                None if given_at.elapsed() >= FIRST_REPORT_MAX => return OrderEnd::Silent,
                Some(_) | None => tokio::time::sleep(CHECK_INTERVAL).await,
            }
        }
    }

    /// Keeps the report of an executor as long as the executor repeats it.
    pub(super) async fn listen(
        &self,
        mut wire: Wire,
        executor: String,
        first: (ExecutorReport, Vec<OrderAnswer>),
    ) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let (mut told, mut answered) = first;
        loop {
            self.lock().insert(executor.clone(), (connection, told));
            self.orders.settle(answered);
            let reply = ReportReply {
                engine: self.engine.clone(),
                orders: self.orders.unanswered_by(&executor),
            };
            if wire.send(&reply).await.is_err() {
                break;
            }
            match tokio::time::timeout(EXECUTOR_SILENCE_MAX, wire.next()).await {
                Ok(Ok(Some(FromRank::Has {
                    report, answers, ..
                }))) => (told, answered) = (report, answers),
                _ => break,
            }
        }
        // The executor may have come back on another connection before this connection was given up.
        let mut all = self.lock();
        if all.get(&executor).is_some_and(|(by, _)| *by == connection) {
            all.remove(&executor);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (u64, ExecutorReport)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection to the engine of a scheduler, at the next port, before the greeting.
async fn reach(scheduler: SocketAddr) -> io::Result<TcpStream> {
    let port = scheduler.port().checked_add(1).unwrap_or(0);
    let connecting = TcpStream::connect((scheduler.ip(), port));
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await?
}

/// Lets engine and executor check that they have the same secret and build. The executor does so before it registers at
/// the scheduler, where a difference would look like a failure of the network.
///
/// # Errors
/// [`Refused`], or the last error of connecting if the engine is not there yet.
pub(in crate::cluster) async fn introduce(
    scheduler: SocketAddr,
    security: &Security,
) -> io::Result<()> {
    let began = Instant::now();
    loop {
        let greeted = async { security.connect(reach(scheduler).await?).await };
        match greeted.await {
            Ok(_) => return Ok(()),
            Err(error) if Refused::of(&error).is_some() => return Err(error),
            Err(error) if began.elapsed() >= INTRODUCTION_MAX => return Err(error),
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Reports to the engine what this executor has, and obeys its orders, until an engine refuses this executor. Calls `lost`
/// when an engine that answered has ended, with `None`, or when it has a successor, with the name of the successor, which may
/// have given tasks already. A paused engine is not lost: its machine accepts connections for it.
pub(in crate::cluster) async fn report_until_refused(
    scheduler: SocketAddr,
    security: &Security,
    executor: &str,
    stock: &Arc<Stock>,
    lost: impl Fn(Option<&str>),
) -> io::Error {
    // The engine that answered last, and when it was reached last.
    let mut known: Option<(String, Instant)> = None;
    loop {
        let tried_at = Instant::now();
        let telling = async {
            let stream = reach(scheduler).await?;
            if let Some((_, at)) = &mut known {
                *at = Instant::now();
            }
            let mut wire = Wire::new(security.connect(stream).await?);
            loop {
                let (report, answers) = stock.report();
                let has = FromRank::Has {
                    executor: executor.to_owned(),
                    report,
                    answers,
                };
                wire.send(&has).await?;
                let answer = tokio::time::timeout(CONNECT_TIMEOUT, wire.next()).await??;
                let Some(ReportReply { engine, orders }) = answer else {
                    return Err(ErrorKind::UnexpectedEof.into());
                };
                if known.as_ref().is_some_and(|(known, _)| *known != engine) {
                    tracing::warn!("the engine has a successor; its tasks are stopped");
                    lost(Some(&engine));
                }
                known = Some((engine, Instant::now()));
                stock.obey(orders);
                tokio::select! {
                    () = tokio::time::sleep(BEAT) => {}
                    () = stock.news() => {}
                }
            }
        };
        let ended: io::Result<Infallible> = telling.await;
        let Err(error) = ended;
        if Refused::of(&error).is_some() {
            lost(None);
            return error;
        }
        tracing::debug!(%error, "cannot report to the engine");
        let silence_max = match error.kind() {
            ErrorKind::ConnectionRefused => REFUSAL_MAX,
            _ => ENGINE_SILENCE_MAX,
        };
        let silent = |at: Instant| tried_at.saturating_duration_since(at) >= silence_max;
        if known.as_ref().is_some_and(|(_, at)| silent(*at)) {
            known = None;
            tracing::warn!("the engine is gone; its tasks are stopped");
            lost(None);
        }
        // Retry soon: until the successor is known, the tasks of its predecessor run beside those of the successor.
        tokio::time::sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::runtime::SpawnedTask;
    use tokio::net::TcpListener;

    use super::super::attempt::LINK_TIMEOUT;
    use super::super::coordinator::Coordinator;
    use super::*;
    use crate::memory::Memory;
    use crate::model::runtime::ModelRuntime;

    /// The address of a scheduler beside this engine.
    async fn engine(security: Security) -> (SocketAddr, SpawnedTask<()>) {
        serve(Arc::new(Coordinator::new(security, LINK_TIMEOUT))).await
    }

    async fn serve(coordinator: Arc<Coordinator>) -> (SocketAddr, SpawnedTask<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut scheduler = listener.local_addr().unwrap();
        scheduler.set_port(scheduler.port() - 1);
        (scheduler, SpawnedTask::spawn(coordinator.serve(listener)))
    }

    /// An executor without devices and models.
    fn stock() -> Arc<Stock> {
        let runtime = ModelRuntime::new(vec![], vec![], None, &Memory::of_tasks(None));
        Arc::new(Stock::new(runtime, vec![]))
    }

    /// An order that no executor refuses.
    fn unload() -> CacheOrder {
        let sha256s = HashSet::new();
        CacheOrder::Unload { sha256s }
    }

    #[tokio::test]
    async fn an_engine_of_another_build_refuses_an_executor_by_name() {
        let (scheduler, _serving) = engine(Security::of_test(None, "vatic 2 (b)")).await;
        let executor = Security::of_test(None, "vatic 1 (a)");
        let introduced = introduce(scheduler, &executor).await.unwrap_err();
        let lost = AtomicU64::default();
        let stock = stock();
        let count = |_: Option<&str>| {
            lost.fetch_add(1, Ordering::Relaxed);
        };
        let refused = report_until_refused(scheduler, &executor, "executor", &stock, count).await;
        for error in [introduced, refused] {
            let refused = Refused::of(&error).unwrap().to_string();
            assert!(refused.contains("vatic 1 (a)"), "{refused}");
            assert!(refused.contains("the engine from vatic 2 (b)"), "{refused}");
        }
        assert_eq!(lost.into_inner(), 1, "tasks are stopped");
    }

    #[tokio::test]
    async fn an_executor_answers_orders_until_it_is_gone() {
        let security = Security::of_test(None, "a");
        let coordinator = Arc::new(Coordinator::new(security.clone(), LINK_TIMEOUT));
        let (scheduler, _serving) = serve(Arc::clone(&coordinator)).await;
        let reporting = SpawnedTask::spawn(async move {
            report_until_refused(scheduler, &security, "executor", &stock(), |_| {}).await
        });
        for _ in 0..2 {
            let end = coordinator.reports().order("executor", unload()).await;
            assert!(matches!(end, OrderEnd::Answered(Ok(copies)) if copies.is_empty()));
        }
        let order = coordinator.reports().order("executor", unload());
        drop(reporting);
        let end = order.await;
        assert!(matches!(end, OrderEnd::Left), "{end:?}");
    }

    #[tokio::test]
    async fn an_executor_knows_the_successor_of_its_engine_by_name() {
        let security = Security::of_test(None, "a");
        let coordinator = || Arc::new(Coordinator::new(security.clone(), LINK_TIMEOUT));
        let (first, second) = (coordinator(), coordinator());
        let (scheduler, serving) = serve(Arc::clone(&first)).await;
        let successors: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
        let (seen, executor) = (Arc::clone(&successors), security.clone());
        let lost = move |successor: Option<&str>| {
            let successor = successor.map(str::to_owned);
            seen.lock().unwrap().push(successor);
        };
        let _reporting = SpawnedTask::spawn(async move {
            report_until_refused(scheduler, &executor, "executor", &stock(), lost).await
        });
        while first.reports().of("executor").is_none() {
            tokio::time::sleep(RETRY).await;
        }
        // The executor has the answer by then.
        tokio::time::sleep(BEAT).await;
        assert!(successors.lock().unwrap().is_empty());
        drop(serving);
        let mut address = scheduler;
        address.set_port(scheduler.port() + 1);
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                // The task that serves ends soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        let _serving = SpawnedTask::spawn(Arc::clone(&second).serve(listener));
        while second.reports().of("executor").is_none() {
            tokio::time::sleep(RETRY).await;
        }
        let expected = Some(second.reports().engine().to_owned());
        let began = Instant::now();
        while successors.lock().unwrap().is_empty() {
            assert!(began.elapsed() < ENGINE_SILENCE_MAX);
            tokio::time::sleep(RETRY).await;
        }
        assert_eq!(*successors.lock().unwrap(), [expected]);
    }

    #[tokio::test]
    async fn an_executor_is_introduced_to_its_engine() {
        let (scheduler, _serving) = engine(Security::of_test(Some("one"), "a")).await;
        let executor = Security::of_test(Some("one"), "a");
        introduce(scheduler, &executor).await.unwrap();
    }
}
