//! Which models executors have loaded: each says it once a second on a connection of its own, and so learns that the engine
//! is there.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::member::{BEAT, CONNECT_TIMEOUT};
use super::message::{FromRank, ToRank, Wire};

/// An engine that does not answer for so long has ended, or counts this executor among the lost.
const ENGINE_SILENCE_MAX: Duration = Duration::from_secs(8);
/// What an executor that is silent for so long has loaded is not known any more.
const EXECUTOR_SILENCE_MAX: Duration = Duration::from_secs(10);

/// The models of executors that told, by the id of the executor.
#[derive(Debug, Default)]
pub(in crate::cluster) struct LoadedModels(Mutex<HashMap<String, Vec<String>>>);

impl LoadedModels {
    /// Those of an executor, if it told.
    pub(in crate::cluster) fn of(&self, executor: &str) -> Option<Vec<String>> {
        self.lock().get(executor).cloned()
    }

    /// Keeps what an executor says for as long as it goes on saying it.
    pub(super) async fn listen(&self, mut wire: Wire, executor: String, models: Vec<String>) {
        let mut told = models;
        loop {
            self.lock().insert(executor.clone(), told);
            if wire.send(&ToRank::Beat).await.is_err() {
                break;
            }
            match tokio::time::timeout(EXECUTOR_SILENCE_MAX, wire.next()).await {
                Ok(Ok(Some(FromRank::Models { models, .. }))) => told = models,
                _ => break,
            }
        }
        self.lock().remove(&executor);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the engine for ever which models this executor has loaded, as far as the engine can be reached where it is by
/// default: at the port after that of its scheduler. `lost` hears that an engine which answered does not any more.
pub(in crate::cluster) async fn tell_models(
    scheduler: SocketAddr,
    executor: &str,
    models: impl Fn() -> Vec<String>,
    lost: impl Fn(),
) -> Infallible {
    let port = scheduler.port().checked_add(1).unwrap_or(0);
    let mut heard_at: Option<Instant> = None;
    loop {
        let telling = async {
            let connecting = TcpStream::connect((scheduler.ip(), port));
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await??;
            let mut wire = Wire::new(stream)?;
            loop {
                let (executor, models) = (executor.to_owned(), models());
                wire.send(&FromRank::Models { executor, models }).await?;
                match tokio::time::timeout(CONNECT_TIMEOUT, wire.next::<ToRank>()).await?? {
                    Some(_) => heard_at = Some(Instant::now()),
                    None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                }
                tokio::time::sleep(BEAT).await;
            }
        };
        let ended: std::io::Result<Infallible> = telling.await;
        tracing::debug!(?ended, "the engine does not hear which models are loaded");
        if heard_at.is_some_and(|at| at.elapsed() >= ENGINE_SILENCE_MAX) {
            heard_at = None;
            tracing::warn!("the engine is gone; its tasks are stopped");
            lost();
        }
        tokio::time::sleep(BEAT).await;
    }
}
