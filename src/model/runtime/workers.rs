//! [`Workers`]: the worker threads of the devices.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};
use vatic_ml::device::DeviceName;
use vatic_ml::stop::Stop;
use vatic_ml::worker::{WorkerPool, catch};

use crate::error::{Result, SqlState, ml_err, sql_err};
use crate::own_task::in_own_task;

/// The workers of each device that has had a job.
#[derive(Debug, Default)]
pub(super) struct Workers(Mutex<HashMap<DeviceName, Arc<DeviceWorkers>>>);

/// The worker threads of a device.
#[derive(Debug)]
struct DeviceWorkers {
    pool: WorkerPool,
    permits: Semaphore,
}

impl Workers {
    /// The workers of a device, which start with the first job.
    fn of(&self, device: DeviceName) -> Result<Arc<DeviceWorkers>> {
        let mut workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = workers.get(&device) {
            return Ok(Arc::clone(known));
        }
        let pool = WorkerPool::start(&device.to_string(), device.workers()).map_err(ml_err)?;
        let permits = Semaphore::new(pool.capacity());
        let started = Arc::new(DeviceWorkers { pool, permits });
        workers.insert(device, Arc::clone(&started));
        Ok(started)
    }

    /// Runs a computation; the worker drops `note` afterwards.
    pub(super) async fn run<T: Send + 'static, N: Send + 'static>(
        &self,
        device: DeviceName,
        note: N,
        job: impl FnOnce() -> vatic_ml::Result<T> + Send + 'static,
    ) -> Result<T> {
        let closed = || sql_err(SqlState::Internal, "the model workers have ended");
        let workers = self.of(device.resolved())?;
        // Other computations wait for the permit.
        in_own_task(async move {
            // The permits keep `execute` from blocking a thread of the async runtime.
            let _permit = workers.permits.acquire().await.map_err(|_| closed())?;
            let (sender, receiver) = oneshot::channel();
            let stop = Stop::default();
            let _stop_on_drop = stop.on_drop();
            workers
                .pool
                .execute(move || {
                    let _note = note;
                    // The result of a cancelled statement is not needed.
                    if !sender.is_closed() {
                        let _ = sender.send(stop.watch(|| catch(job)));
                    }
                })
                .map_err(ml_err)?;
            receiver.await.map_err(|_| closed())?.map_err(ml_err)
        })
        .await
    }
}
