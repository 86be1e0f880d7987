//! The models and devices that executors have: each executor reports them once a second on a separate connection, and so
//! learns that the engine is there.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::message::{ExecutorReport, FromRank, ReportReply, Wire};
use super::remote_rank::{BEAT, CONNECT_TIMEOUT};

/// An engine that cannot be reached for this long has ended, or counts this executor as lost.
const ENGINE_SILENCE_MAX: Duration = Duration::from_secs(25);
/// An engine whose machine refuses connections for this long has ended.
const REFUSAL_MAX: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_millis(200);
/// The report of an executor that is silent for this long is forgotten.
const EXECUTOR_SILENCE_MAX: Duration = Duration::from_secs(10);

/// The reports of executors, by the id of the executor.
#[derive(Debug)]
pub(in crate::cluster) struct Reports {
    /// The name of this engine.
    engine: String,
    /// The report of each executor, with the number of the connection that brought it.
    told: Mutex<HashMap<String, (u64, ExecutorReport)>>,
    connections: AtomicU64,
}

impl Reports {
    pub(super) fn new() -> Self {
        Self {
            engine: uuid::Uuid::new_v4().to_string(),
            told: Mutex::default(),
            connections: AtomicU64::default(),
        }
    }

    /// The report of an executor, if it has sent one.
    pub(in crate::cluster) fn of(&self, executor: &str) -> Option<ExecutorReport> {
        self.lock().get(executor).map(|(_, report)| report.clone())
    }

    /// Keeps the report of an executor as long as the executor repeats it.
    pub(super) async fn listen(&self, mut wire: Wire, executor: String, report: ExecutorReport) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let mut told = report;
        loop {
            self.lock().insert(executor.clone(), (connection, told));
            let engine = self.engine.clone();
            if wire.send(&ReportReply { engine }).await.is_err() {
                break;
            }
            match tokio::time::timeout(EXECUTOR_SILENCE_MAX, wire.next()).await {
                Ok(Ok(Some(FromRank::Has { report, .. }))) => told = report,
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

/// Reports to the engine forever what this executor has, at the port after the scheduler's. Calls `lost` when an engine
/// that answered has ended, or has a successor. A paused engine is not lost: its machine accepts connections for it.
pub(in crate::cluster) async fn report_forever(
    scheduler: SocketAddr,
    executor: &str,
    report: impl Fn() -> ExecutorReport,
    lost: impl Fn(),
) -> Infallible {
    let port = scheduler.port().checked_add(1).unwrap_or(0);
    // The engine that answered last, and when it was reached last.
    let mut known: Option<(String, Instant)> = None;
    loop {
        let tried_at = Instant::now();
        let telling = async {
            let connecting = TcpStream::connect((scheduler.ip(), port));
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await??;
            if let Some((_, at)) = &mut known {
                *at = Instant::now();
            }
            let mut wire = Wire::new(stream)?;
            loop {
                let (executor, report) = (executor.to_owned(), report());
                wire.send(&FromRank::Has { executor, report }).await?;
                let answer = tokio::time::timeout(CONNECT_TIMEOUT, wire.next()).await??;
                let Some(ReportReply { engine }) = answer else {
                    return Err(ErrorKind::UnexpectedEof.into());
                };
                if known.as_ref().is_some_and(|(known, _)| *known != engine) {
                    tracing::warn!("the engine has a successor; its tasks are stopped");
                    lost();
                }
                known = Some((engine, Instant::now()));
                tokio::time::sleep(BEAT).await;
            }
        };
        let ended: std::io::Result<Infallible> = telling.await;
        tracing::debug!(?ended, "cannot report to the engine");
        let is_refused = ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        let silence_max = match is_refused {
            true => REFUSAL_MAX,
            false => ENGINE_SILENCE_MAX,
        };
        let silent = |at: Instant| tried_at.saturating_duration_since(at) >= silence_max;
        if known.as_ref().is_some_and(|(_, at)| silent(*at)) {
            known = None;
            tracing::warn!("the engine is gone; its tasks are stopped");
            lost();
        }
        // Retry soon, so that a successor is known before it has tasks for this executor.
        tokio::time::sleep(RETRY).await;
    }
}
