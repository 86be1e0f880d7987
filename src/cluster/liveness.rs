//! Executors that are lost. The scheduler gives up an executor that is silent for long, because a machine may stall. An
//! executor whose process has ended is known sooner: nobody listens at its port, so its machine refuses connections.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ballista_core::serde::scheduler::ExecutorMetadata;
use ballista_scheduler::cluster::ClusterState;
use datafusion::common::DataFusionError;
use futures::future::join_all;
use tokio::net::TcpStream;

use super::placement::BarrierClusterState;
use crate::error::{SqlState, report};

/// An executor that is silent for longer than this is asked for a connection; it gives a sign of life every 2 s.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The scheduler looks for executors to give up once in a second.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(3);
const REMOVAL_CHECK: Duration = Duration::from_millis(50);

/// The executors at the end of an attempt, compared with those at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machines {
    AllThere,
    SomeLost,
}

impl BarrierClusterState {
    /// The executors after a job failed with this error, of which `before` were there at its beginning. Only after an error
    /// that the loss of an executor may cause, they are asked whether they are alive.
    pub(super) async fn machines_after(
        &self,
        error: &DataFusionError,
        before: &BTreeSet<String>,
    ) -> Machines {
        match report(error).state {
            SqlState::Internal | SqlState::NoResources => {}
            _ => return Machines::AllThere,
        }
        let all = self.registered_executor_metadata().await;
        let lost = self.lost_of(&all).await;
        self.removed().await;
        match lost == 0 && before.is_subset(&self.executor_ids().await) {
            true => Machines::AllThere,
            false => Machines::SomeLost,
        }
    }

    /// The executors that have given no sign of life for some time.
    async fn silent(&self) -> Vec<ExecutorMetadata> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let mut executors = self.registered_executor_metadata().await;
        executors.retain(|executor| {
            let heartbeat = self.get_executor_heartbeat(&executor.id);
            heartbeat.is_some_and(|heartbeat| {
                let last_seen = Duration::from_secs(heartbeat.timestamp);
                !last_seen.is_zero() && now.saturating_sub(last_seen) > SILENCE_MAX
            })
        });
        executors
    }

    /// The number of these executors that cannot be reached. The scheduler soon gives up those whose process has ended.
    async fn lost_of(&self, executors: &[ExecutorMetadata]) -> usize {
        let asked = executors.iter();
        let answers = asked.map(|executor| ask(&executor.host, executor.grpc_port));
        let mut lost = 0;
        for (executor, answer) in executors.iter().zip(join_all(answers).await) {
            match answer {
                Answer::Alive => {}
                Answer::None => lost += 1,
                Answer::Ended => {
                    lost += 1;
                    self.expire(&executor.id).await;
                }
            }
        }
        lost
    }

    /// Sets the last sign of life of an executor to long ago. If it comes back, its next sign of life counts again.
    async fn expire(&self, id: &str) {
        let Some(mut heartbeat) = self.get_executor_heartbeat(id) else {
            return;
        };
        tracing::warn!(executor = id, "an executor refuses connections");
        heartbeat.timestamp = 0;
        if let Err(error) = self.save_executor_heartbeat(heartbeat).await {
            tracing::warn!(executor = id, %error, "an executor cannot be given up");
        }
    }

    /// Waits until the scheduler has given up the executors that are to be given up.
    async fn removed(&self) {
        let until = Instant::now() + REMOVAL_TIMEOUT;
        let is_expired = || {
            let heartbeats = self.executor_heartbeats();
            heartbeats
                .values()
                .any(|heartbeat| heartbeat.timestamp == 0)
        };
        while is_expired() && Instant::now() < until {
            tokio::time::sleep(REMOVAL_CHECK).await;
        }
    }

    /// Adds an executor with one slot, which accepts connections at this address.
    #[cfg(test)]
    pub(super) async fn register_of_test(&self, id: &str, address: std::net::SocketAddr) {
        use ballista_core::serde::scheduler::{
            ExecutorData, ExecutorOperatingSystemSpecification, ExecutorSpecification,
        };

        let metadata = ExecutorMetadata {
            id: id.to_owned(),
            host: address.ip().to_string(),
            port: address.port(),
            grpc_port: address.port(),
            specification: ExecutorSpecification { vcores: 1 },
            os_info: ExecutorOperatingSystemSpecification::default(),
        };
        let data = ExecutorData {
            executor_id: id.to_owned(),
            total_vcores: 1,
            available_vcores: 1,
        };
        self.register_executor(metadata, data).await.unwrap();
    }
}

/// Gives up silent executors whose process has ended.
pub(super) async fn watch(placement: Arc<BarrierClusterState>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let silent = placement.silent().await;
        placement.lost_of(&silent).await;
    }
}

/// What a machine answers to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The executor is there, or its machine has stalled.
    Alive,
    /// The machine is there, and the process of the executor is not.
    Ended,
    None,
}

async fn ask(host: &str, port: u16) -> Answer {
    let connecting = TcpStream::connect((host, port));
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(_)) => Answer::Alive,
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Answer::Ended,
        Ok(Err(_)) | Err(_) => Answer::None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::services::Cluster;
    use super::*;
    use crate::error::sql_err;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_executor_whose_process_has_ended_is_lost_at_once() {
        let cluster = Cluster::start("127.0.0.1:0", None, None).unwrap();
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (alive, ended) = (listen(), listen());
        for (id, listener) in [("alive", &alive), ("ended", &ended)] {
            let address = listener.local_addr().unwrap();
            cluster.placement.register_of_test(id, address).await;
        }
        let before = cluster.placement.executor_ids().await;
        let failed = |state| sql_err(state, "x");
        let placement = &cluster.placement;
        let machines = async |state| placement.machines_after(&failed(state), &before).await;
        assert_eq!(machines(SqlState::Internal).await, Machines::AllThere);
        drop(ended);
        // An error of the statement.
        assert_eq!(machines(SqlState::Data).await, Machines::AllThere);
        assert_eq!(machines(SqlState::Internal).await, Machines::SomeLost);
        let left = cluster.placement.executor_ids().await;
        assert_eq!(left, BTreeSet::from(["alive".to_owned()]));
        // Also for a job that notices later.
        assert_eq!(machines(SqlState::NoResources).await, Machines::SomeLost);
    }
}
