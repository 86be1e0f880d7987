//! The models that executors have loaded: each executor reports them once a second on a separate connection, and so
//! learns that the engine is there.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::message::{FromRank, ModelsReply, Wire};
use super::remote_rank::{BEAT, CONNECT_TIMEOUT};

/// An engine that cannot be reached for this long has ended, or counts this executor as lost.
const ENGINE_SILENCE_MAX: Duration = Duration::from_secs(25);
/// An engine whose machine refuses connections for this long has ended.
const REFUSAL_MAX: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_millis(200);
/// The models of an executor that is silent for this long are unknown.
const EXECUTOR_SILENCE_MAX: Duration = Duration::from_secs(10);

/// The models that executors have reported, by the id of the executor.
#[derive(Debug)]
pub(in crate::cluster) struct LoadedModels {
    /// The name of this engine.
    engine: String,
    /// The models of each executor, with the number of the connection that reported them.
    told: Mutex<HashMap<String, (u64, Vec<String>)>>,
    connections: AtomicU64,
}

impl LoadedModels {
    pub(super) fn new() -> Self {
        Self {
            engine: uuid::Uuid::new_v4().to_string(),
            told: Mutex::default(),
            connections: AtomicU64::default(),
        }
    }

    /// The models of an executor, if it has reported them.
    pub(in crate::cluster) fn of(&self, executor: &str) -> Option<Vec<String>> {
        self.lock().get(executor).map(|(_, models)| models.clone())
    }

    /// Keeps the models of an executor as long as the executor reports them.
    pub(super) async fn listen(&self, mut wire: Wire, executor: String, models: Vec<String>) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let mut told = models;
        loop {
            self.lock().insert(executor.clone(), (connection, told));
            let engine = self.engine.clone();
            if wire.send(&ModelsReply { engine }).await.is_err() {
                break;
            }
            match tokio::time::timeout(EXECUTOR_SILENCE_MAX, wire.next()).await {
                Ok(Ok(Some(FromRank::Models { models, .. }))) => told = models,
                _ => break,
            }
        }
        // The executor may have come back on another connection before this connection was given up.
        let mut all = self.lock();
        if all.get(&executor).is_some_and(|(by, _)| *by == connection) {
            all.remove(&executor);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (u64, Vec<String>)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports to the engine forever which models this executor has loaded, if the engine listens at its default port, the
/// port after the scheduler's. Calls `lost` when an engine that answered has ended, or has a successor. A paused engine
/// is not lost: its machine accepts connections for it.
pub(in crate::cluster) async fn report_models(
    scheduler: SocketAddr,
    executor: &str,
    models: impl Fn() -> Vec<String>,
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
                let (executor, models) = (executor.to_owned(), models());
                wire.send(&FromRank::Models { executor, models }).await?;
                let answer = tokio::time::timeout(CONNECT_TIMEOUT, wire.next()).await??;
                let Some(ModelsReply { engine }) = answer else {
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
        tracing::debug!(?ended, "cannot report the loaded models to the engine");
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
