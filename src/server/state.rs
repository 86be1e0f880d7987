//! [`Server`]: the shared state of all calls, and the queue of statements.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::auth::Auth;
use super::sessions::Sessions;
use super::status::failed;
use crate::error::SqlState;

/// How long a statement waits in the queue.
const QUEUE_TIME: Duration = Duration::from_secs(10);

/// The shared state of all calls.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) auth: Arc<Auth>,
    pub(super) sessions: Sessions,
    /// The runtime that statements run on, apart from the threads that answer clients.
    pub(super) workers: Handle,
    pub(super) slots: Arc<Semaphore>,
    pub(super) queued: AtomicUsize,
    pub(super) queue_max: usize,
    /// The memory limit of the process, in bytes.
    pub(super) process_bytes_max: Option<u64>,
    pub(super) is_draining: AtomicBool,
}

impl Server {
    /// Waits for a slot to run a statement.
    pub(super) async fn slot(&self) -> Result<OwnedSemaphorePermit, Status> {
        if self.is_draining.load(Ordering::Relaxed) {
            let message = "the server is shutting down; connect again later";
            return Err(failed(SqlState::ShuttingDown, message));
        }
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(permit);
        }
        let busy = || {
            let message =
                "the server already runs its maximum number of statements; try again later";
            failed(SqlState::TooMany, message)
        };
        let queued = Queued::join(&self.queued);
        if queued.place > self.queue_max {
            return Err(busy());
        }
        let waiting = Arc::clone(&self.slots).acquire_owned();
        match tokio::time::timeout(QUEUE_TIME, waiting).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }
}

/// A place in the queue, given back on drop however the wait ends.
struct Queued<'a> {
    queued: &'a AtomicUsize,
    place: usize,
}

impl<'a> Queued<'a> {
    fn join(queued: &'a AtomicUsize) -> Self {
        let place = queued.fetch_add(1, Ordering::Relaxed) + 1;
        Self { queued, place }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }
}
