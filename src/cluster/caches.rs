//! The engine's orders to the model caches of its executors: LOAD, UNLOAD and DROP MODEL.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::rendezvous::{FIRST_REPORT_MAX, OrderEnd};
use super::services::Cluster;
use crate::error::{Result, SqlError, SqlState, sql_err};
use crate::model::runtime::{CacheOrder, ModelCopy, PinnedVersion};

/// The interval between checks whether the scheduler still knows an executor.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl Cluster {
    /// Gives an order to all executors that are there now, and waits until each has obeyed it. Returns the copies of each
    /// executor, by its id. An executor that leaves meanwhile is left out.
    ///
    /// # Errors
    /// The error of an executor, or that an executor does not report, once all others have obeyed.
    pub(crate) async fn order_executors(
        &self,
        order: &CacheOrder,
    ) -> Result<Vec<(String, Vec<ModelCopy>)>> {
        let executors = self.executors().await.into_iter();
        let ends = executors.map(|executor| async move {
            let end = tokio::select! {
                end = self.coordinator.reports().order(&executor.id, order.clone()) => end,
                () = self.executor_left(&executor.id) => OrderEnd::Left,
            };
            (executor, end)
        });
        let mut copies = Vec::new();
        for (executor, end) in join_all(ends).await {
            match end {
                OrderEnd::Answered(Ok(own)) => copies.push((executor.id, own)),
                OrderEnd::Answered(Err(error)) => {
                    let message = format!("{}: {}", executor.id, error.message);
                    return Err(SqlError { message, ..error }.into());
                }
                OrderEnd::Left => {}
                OrderEnd::Silent => {
                    let message = format!(
                        "{} at {} has not reported for {} s, so it is not known what it has loaded; look whether it reaches \
                         port {} of the engine",
                        executor.id,
                        executor.address,
                        FIRST_REPORT_MAX.as_secs(),
                        self.rendezvous_port(),
                    );
                    return Err(sql_err(SqlState::TimedOut, message));
                }
            }
        }
        Ok(copies)
    }

    /// The versions that executors keep loaded, as far as they have reported.
    pub(crate) fn pinned(&self) -> HashSet<PinnedVersion> {
        self.coordinator.reports().pinned()
    }

    /// Gives an order to all executors that report, and does not wait for them.
    pub(crate) fn order_later(&self, order: CacheOrder) {
        let Some(runtime) = self.handle() else {
            return;
        };
        let coordinator = Arc::clone(&self.coordinator);
        runtime.spawn(async move {
            let reports = coordinator.reports();
            let ends = reports.executors().into_iter().map(|executor| {
                let order = order.clone();
                async move {
                    let end = reports.order(&executor, order).await;
                    (executor, end)
                }
            });
            for (executor, end) in join_all(ends).await {
                if let OrderEnd::Answered(Err(error)) = end {
                    tracing::warn!(executor, %error, "an executor cannot change its model cache");
                }
            }
        });
    }

    /// Returns when the scheduler does not know the executor any more.
    async fn executor_left(&self, id: &str) {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let manager = &self.scheduler.state.executor_manager;
            // The state is in memory, so the call cannot fail.
            let known = manager.get_executors_state().await.unwrap_or_default();
            if !known.iter().any(|(executor, ..)| executor.id == id) {
                return;
            }
        }
    }
}
