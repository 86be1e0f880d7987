//! Which models executors have loaded: each says it once a second on a connection of its own, and so learns that the engine
//! is there.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::member::{BEAT, CONNECT_TIMEOUT};
use super::message::{FromRank, ToRank, Wire};

/// An engine that cannot be reached for so long has ended, or counts this executor among the lost.
const ENGINE_SILENCE_MAX: Duration = Duration::from_secs(25);
/// One whose machine says for so long that nobody listens has ended.
const REFUSAL_MAX: Duration = Duration::from_secs(4);
/// What an executor that is silent for so long has loaded is not known any more.
const EXECUTOR_SILENCE_MAX: Duration = Duration::from_secs(10);

/// The models of executors that told, by the id of the executor.
#[derive(Debug, Default)]
pub(in crate::cluster) struct LoadedModels {
    /// With the number of the connection that told.
    told: Mutex<HashMap<String, (u64, Vec<String>)>>,
    connections: AtomicU64,
}

impl LoadedModels {
    /// Those of an executor, if it told.
    pub(in crate::cluster) fn of(&self, executor: &str) -> Option<Vec<String>> {
        self.lock().get(executor).map(|(_, models)| models.clone())
    }

    /// Keeps what an executor says for as long as it goes on saying it.
    pub(super) async fn listen(&self, mut wire: Wire, executor: String, models: Vec<String>) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let mut told = models;
        loop {
            self.lock().insert(executor.clone(), (connection, told));
            if wire.send(&ToRank::Beat).await.is_err() {
                break;
            }
            match tokio::time::timeout(EXECUTOR_SILENCE_MAX, wire.next()).await {
                Ok(Ok(Some(FromRank::Models { models, .. }))) => told = models,
                _ => break,
            }
        }
        // It may have come back on another connection before this one was given up.
        let mut all = self.lock();
        if all.get(&executor).is_some_and(|(by, _)| *by == connection) {
            all.remove(&executor);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (u64, Vec<String>)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the engine for ever which models this executor has loaded, as far as the engine can be reached where it is by
/// default: at the port after that of its scheduler. `lost` hears that an engine which answered has ended: whoever was only
/// paused, be it the engine or this executor, answers on a new connection before anything is lost.
pub(in crate::cluster) async fn tell_models(
    scheduler: SocketAddr,
    executor: &str,
    models: impl Fn() -> Vec<String>,
    lost: impl Fn(),
) -> Infallible {
    let port = scheduler.port().checked_add(1).unwrap_or(0);
    let mut heard_at: Option<Instant> = None;
    loop {
        let tried_at = Instant::now();
        let telling = async {
            let connecting = TcpStream::connect((scheduler.ip(), port));
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await??;
            let mut wire = Wire::new(stream)?;
            loop {
                let (executor, models) = (executor.to_owned(), models());
                wire.send(&FromRank::Models { executor, models }).await?;
                match tokio::time::timeout(CONNECT_TIMEOUT, wire.next::<ToRank>()).await?? {
                    Some(_) => heard_at = Some(Instant::now()),
                    None => return Err(ErrorKind::UnexpectedEof.into()),
                }
                tokio::time::sleep(BEAT).await;
            }
        };
        let ended: std::io::Result<Infallible> = telling.await;
        tracing::debug!(?ended, "the engine does not hear which models are loaded");
        let is_refused = ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        let silence_max = match is_refused {
            true => REFUSAL_MAX,
            false => ENGINE_SILENCE_MAX,
        };
        let silent = |at| tried_at.saturating_duration_since(at) >= silence_max;
        if heard_at.is_some_and(silent) {
            heard_at = None;
            tracing::warn!("the engine is gone; its tasks are stopped");
            lost();
        }
        tokio::time::sleep(BEAT).await;
    }
}
