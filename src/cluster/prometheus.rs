//! Metrics for Prometheus: `GET /metrics`, in the text format 0.0.4.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::address::{failed_at, resolve};
use super::services::Cluster;
use crate::error::{Result, SqlState, sql_err};

impl Cluster {
    /// Serves metrics at this address, `host:port`, as long as the engine lives.
    pub(crate) fn serve_metrics(self: &Arc<Self>, address: &str) -> Result<SocketAddr> {
        let socket = resolve(address)?;
        let failed = failed_at(socket);
        let listener = std::net::TcpListener::bind(socket).map_err(&failed)?;
        listener.set_nonblocking(true).map_err(&failed)?;
        let bound = listener.local_addr().map_err(&failed)?;
        // The metrics endpoint must not keep the engine alive.
        let cluster = Arc::downgrade(self);
        let routes = Router::new()
            .route("/metrics", get(answer))
            .with_state(cluster);
        let gone = || sql_err(SqlState::Internal, "the scheduler has ended");
        self.handle().ok_or_else(gone)?.spawn(async move {
            let serving = async { axum::serve(TcpListener::from_std(listener)?, routes).await };
            if let Err(error) = serving.await {
                tracing::warn!(%error, "metrics are not served any more");
            }
        });
        Ok(bound)
    }

    async fn metrics(&self) -> String {
        let (executors, jobs) = (self.executors().await, self.jobs().await);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "# HELP vatic_{name} {help}\n# TYPE vatic_{name} {kind}"
            );
            for (labels, value) in values {
                let _ = writeln!(text, "vatic_{name}{labels} {value}");
            }
        };
        let slots = executors.iter().map(|executor| executor.slots).sum();
        let free = executors.iter().map(|executor| executor.free_slots).sum();
        let tasks = jobs.iter().map(|job| job.tasks_running).sum();
        metric(
            "executors",
            "gauge",
            "Executors that have joined.",
            &[("", executors.len() as u64)],
        );
        metric("slots", "gauge", "Slots of all executors.", &[("", slots)]);
        metric(
            "free_slots",
            "gauge",
            "Slots without a task.",
            &[("", free)],
        );
        metric(
            "jobs_running",
            "gauge",
            "Running queries and trainings.",
            &[("", jobs.len() as u64)],
        );
        metric("tasks_running", "gauge", "Running tasks.", &[("", tasks)]);
        metric(
            "jobs_total",
            "counter",
            "Queries and trainings that ended.",
            &[
                ("{outcome=\"succeeded\"}", count(&counters.jobs_succeeded)),
                ("{outcome=\"failed\"}", count(&counters.jobs_failed)),
                ("{outcome=\"cancelled\"}", count(&counters.jobs_cancelled)),
            ],
        );
        metric(
            "training_attempts_lost_total",
            "counter",
            "Attempts of trainings that lost a machine.",
            &[("", count(&counters.attempts_lost))],
        );
        text
    }
}

async fn answer(State(cluster): State<std::sync::Weak<Cluster>>) -> impl IntoResponse {
    let text = match cluster.upgrade() {
        Some(cluster) => cluster.metrics().await,
        None => String::new(),
    };
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
