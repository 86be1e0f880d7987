//! Ballista's scheduler in the engine's process.

use std::sync::Arc;

use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpcServer;
use ballista_scheduler::cluster::memory::InMemoryJobState;
use ballista_scheduler::cluster::{BallistaCluster, ClusterState, JobState};
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use ballista_scheduler::scheduler_server::{SchedulerServer, SessionBuilder};
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::net::TcpListener;

use super::codec::PlanCodec;
use super::placement::BarrierClusterState;
use super::secure::{Security, TaskPass};
use crate::config::VaticOptions;
use crate::error::{Result, SqlState, sql_err};
use crate::extensions::EXTENSIONS;

pub(super) type Scheduler = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// How long an executor may be silent: longer than a machine stalls, because an executor that was given up ends itself.
/// The loss of a training's rank is noticed sooner, by its lease.
const EXECUTOR_TIMEOUT_S: u64 = 20;
/// How long jobs wait for another executor when the last one is gone.
const GRACE_S: u64 = 25;
/// The shuffle files of a job are removed after this long, unless the reader of the job removes them before.
const CLEAN_UP_S: u64 = 300;

/// The settings of a session on a node.
pub(super) fn node_config() -> SessionConfig {
    let mut config = SessionConfig::new_with_ballista();
    let extensions = &mut config.options_mut().extensions;
    extensions.insert(VaticOptions::default());
    // A setting travels with a task only if both sides know it.
    extensions.insert(TaskPass::default());
    config
}

/// The state of jobs: in memory, as long as this process lives.
pub(super) fn job_state() -> Arc<dyn JobState> {
    Arc::new(InMemoryJobState::new(
        "vatic",
        sessions(),
        Arc::new(node_config),
    ))
}

fn sessions() -> SessionBuilder {
    Arc::new(|config| {
        let builder = SessionStateBuilder::new().with_config(config);
        Ok(builder.with_default_features().build())
    })
}

/// A scheduler, and the future that serves it at a listener.
pub(super) async fn start(
    listener: TcpListener,
    state: Arc<BarrierClusterState>,
    jobs: Arc<dyn JobState>,
    security: Security,
) -> Result<(Scheduler, impl Future<Output = ()> + Send + 'static)> {
    let failed = |error: &dyn std::fmt::Display| {
        sql_err(
            SqlState::Internal,
            format!("the scheduler cannot start: {error}"),
        )
    };
    let address = listener.local_addr().map_err(|error| failed(&error))?;
    let config = SchedulerConfig {
        // Executors report to this address, so they must be able to reach it.
        external_host: address.ip().to_string(),
        scheduler_id: "vatic".into(),
        bind_host: address.ip().to_string(),
        bind_port: address.port(),
        override_physical_codec: Some(Arc::new(PlanCodec::new(EXTENSIONS))),
        override_session_builder: Some(sessions()),
        override_config_producer: Some(Arc::new(node_config)),
        override_create_grpc_client_endpoint: security.endpoint_override(),
        executor_timeout_seconds: EXECUTOR_TIMEOUT_S,
        expire_dead_executor_interval_seconds: 1,
        no_executors_grace_period_seconds: GRACE_S,
        finished_job_data_clean_up_interval_seconds: CLEAN_UP_S,
        finished_job_state_clean_up_interval_seconds: CLEAN_UP_S,
        ..Default::default()
    };
    config.validate().map_err(|error| failed(&error))?;
    let state: Arc<dyn ClusterState> = state;
    let cluster = BallistaCluster::new(state, jobs);
    let message_bytes_max = config.grpc_server_max_decoding_message_size as usize;
    let scheduler = create_scheduler(cluster, Arc::new(config)).await;
    let scheduler: Scheduler = scheduler.map_err(|error| failed(&error))?;
    let served = scheduler.clone();
    let serving = async move {
        let ended = match security.has_secret() {
            true => {
                let server = SchedulerGrpcServer::new(served)
                    .max_decoding_message_size(message_bytes_max)
                    .max_encoding_message_size(message_bytes_max);
                security.serve_scheduler(listener, server).await
            }
            false => start_grpc_service_with_listener(listener, served).await,
        };
        if let Err(error) = ended {
            tracing::error!(%error, "the scheduler ended");
        }
    };
    Ok((scheduler, serving))
}
