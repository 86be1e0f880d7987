//! Many machines. The only folder that names Ballista.
//!
//! ```text
//! the engine's process                            an executor, one a machine
//! ┌──────────────────────────────────┐            ┌─────────────────────────────┐
//! │ Session ─ plans ─ backend        │            │ task: PredictExec, scans, … │
//! │     scheduler (H:P) ─────────────┼── tasks ──▶│ task: TrainExec, one a rank │
//! │     coordinator (H:P+1) ◀────────┼── ranks ───│   └ collective ◀──▶ others  │
//! │ ◀────────────────────────────────┼── rows ────│                             │
//! └──────────────────────────────────┘            └─────────────────────────────┘
//! ```
//! | what | travels as | where it becomes what |
//! | --- | --- | --- |
//! | statement | not at all: the engine parses, plans and optimises | engine |
//! | plan | the task's operators, by [`codec`] | executor |
//! | a plan that would be another there | not at all: [`stages`] finds it, [`rules`] avoids it | engine |
//! | model | name, version, SHA-256 and directory | executor, from the files |
//! | rows between stages | shuffle files, over Arrow Flight | executor |
//! | rows of a result | the same, as fast as they are taken ([`job`]) | engine |
//! | gradients | floats, from rank to rank ([`collective`]) | executor |
//! | settings | key and value with each task | executor |
//! | errors | text with our code in it ([`wire_err`]) | engine |
//!
//! Catalog, registry and results stay in the engine's process: what writes tables, files or versions runs there.

mod analyze;
mod attempts;
mod backend;
mod codec;
mod collective;
mod executor;
mod job;
mod placement;
mod prometheus;
mod rendezvous;
mod rules;
mod scheduler;
mod stages;
mod status;
mod task;
mod training;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballista_core::error::BallistaError;
use ballista_core::extension::SessionConfigExt;
use ballista_scheduler::cluster::JobState;
use datafusion::common::DataFusionError;
use datafusion::prelude::SessionConfig;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};

pub use executor::{Executor, ExecutorOptions, run_executor};

pub(crate) use rules::for_cluster;
pub(crate) use status::{ExecutorView, JobView};
pub(crate) use training::ClusterRunner;

use self::placement::GangClusterState;
use self::prometheus::Counters;
use self::rendezvous::Coordinator;
use self::scheduler::Scheduler;
use crate::error::{
    Result, SqlError, SqlState, arrow_report, error_from_text, error_to_text, ml_err, report,
    sql_err,
};
use crate::progress::{ProgressEvent, ProgressListener};

/// Ballista's own recommendation for threads that plan.
const STACK_BYTES: usize = 32 << 20;
const POLL: Duration = Duration::from_millis(20);

/// The scheduler in the engine's process, and what belongs to it.
pub(crate) struct Cluster {
    scheduler: Scheduler,
    job_state: Arc<dyn JobState>,
    gang: Arc<GangClusterState>,
    coordinator: Arc<Coordinator>,
    address: SocketAddr,
    meeting_port: u16,
    counters: Counters,
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Starts a scheduler that executors reach at `address`, `host:port`; port 0 picks one.
    pub(crate) fn start(address: &str) -> Result<Self> {
        let socket = resolve(address)?;
        if socket.ip().is_unspecified() {
            let message = format!(
                "--cluster {address}: executors report to this address; name the one by which they reach this machine"
            );
            return Err(sql_err(SqlState::InvalidParameter, message));
        }
        let failed = |error: std::io::Error| {
            sql_err(SqlState::Io, format!("scheduler at {address}: {error}"))
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("vatic-cluster")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(failed)?;
        // Not block_on: the caller may be a task of another runtime.
        let (sender, receiver) = std::sync::mpsc::channel();
        let handle = runtime.handle().clone();
        runtime.spawn(async move {
            // The receiver waits below.
            let _ = sender.send(start_services(socket, &handle).await);
        });
        let ended = |_| sql_err(SqlState::Internal, "the scheduler did not start");
        let services = receiver.recv().map_err(ended)??;
        let Services {
            scheduler,
            job_state,
            gang,
            coordinator,
            address,
            meeting_port,
        } = services;
        Ok(Self {
            scheduler,
            job_state,
            gang,
            coordinator,
            address,
            meeting_port,
            counters: Counters::default(),
            runtime: Some(runtime),
        })
    }

    /// Where executors find the scheduler.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where ranks find the coordinator, on the scheduler's host.
    pub(crate) fn meeting_port(&self) -> u16 {
        self.meeting_port
    }

    /// The slots of all executors that are there now.
    pub(crate) async fn slots_now(&self) -> usize {
        self.gang.slots().await
    }

    /// The slots of all executors; waits for the first one so many seconds, and says so.
    pub(crate) async fn slots(
        &self,
        wait_s: usize,
        listener: Option<&ProgressListener>,
    ) -> Result<usize> {
        let wait = Duration::from_secs(wait_s as u64);
        let began = Instant::now();
        loop {
            let slots = self.gang.slots().await;
            if slots > 0 {
                return Ok(slots);
            }
            if began.elapsed() >= wait {
                let message = format!(
                    "no executor joined within {} s; start one: vatic executor --scheduler {}",
                    wait.as_secs(),
                    self.address
                );
                return Err(sql_err(SqlState::NoResources, message));
            }
            if let Some(listener) = listener {
                let what = format!("an executor: vatic executor --scheduler {}", self.address);
                listener(ProgressEvent::Waiting { what });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn handle(&self) -> Option<&Handle> {
        self.runtime.as_ref().map(Runtime::handle)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping it would wait, which a thread of another runtime must not.
            runtime.shutdown_background();
        }
    }
}

/// What runs beside the engine.
struct Services {
    scheduler: Scheduler,
    job_state: Arc<dyn JobState>,
    gang: Arc<GangClusterState>,
    coordinator: Arc<Coordinator>,
    address: SocketAddr,
    meeting_port: u16,
}

async fn start_services(socket: SocketAddr, handle: &Handle) -> Result<Services> {
    let listener = TcpListener::bind(socket).await.map_err(failed_at(socket))?;
    let address = listener.local_addr().map_err(failed_at(socket))?;
    let meeting = meeting_listener(address).await?;
    let meeting_port = meeting.local_addr().map_err(failed_at(address))?.port();
    let coordinator = Arc::new(Coordinator::new());
    let gang = Arc::new(GangClusterState::new(Arc::clone(&coordinator)));
    let job_state = scheduler::job_state();
    let started = scheduler::start(listener, Arc::clone(&gang), Arc::clone(&job_state));
    let (scheduler, serving) = started.await?;
    handle.spawn(serving);
    handle.spawn(Arc::clone(&coordinator).serve(meeting));
    Ok(Services {
        scheduler,
        job_state,
        gang,
        coordinator,
        address,
        meeting_port,
    })
}

fn resolve(address: &str) -> Result<SocketAddr> {
    let wrong = |problem: &str| {
        let message = format!("{address} is not host:port: {problem}");
        sql_err(SqlState::InvalidParameter, message)
    };
    let mut found = address
        .to_socket_addrs()
        .map_err(|error| wrong(&error.to_string()))?;
    found.next().ok_or_else(|| wrong("it has no address"))
}

/// The coordinator's listener: the port after the scheduler's, so that firewalls can be told, else any.
async fn meeting_listener(scheduler: SocketAddr) -> Result<TcpListener> {
    let mut next = scheduler;
    next.set_port(scheduler.port().checked_add(1).unwrap_or(0));
    if let Ok(listener) = TcpListener::bind(next).await {
        return Ok(listener);
    }
    next.set_port(0);
    TcpListener::bind(next).await.map_err(failed_at(next))
}

fn failed_at(address: SocketAddr) -> impl Fn(std::io::Error) -> DataFusionError {
    move |error| sql_err(SqlState::Io, format!("listening at {address}: {error}"))
}

/// See `benchmarks/bench.py`.
pub(crate) fn time_all_reduce(ranks: usize, elements: usize, rounds: usize) -> Result<Vec<f64>> {
    collective::time_all_reduce(ranks, elements, rounds).map_err(ml_err)
}

/// What a session's settings begin with on a cluster: what Ballista cannot carry from stage to stage is off.
pub(crate) fn restrict(config: SessionConfig) -> SessionConfig {
    config
        .upgrade_for_ballista()
        .with_round_robin_repartition(false)
        // It replaces our operators' planning, and waits for ever when a machine is lost.
        .with_ballista_adaptive_query_planner(false)
}

/// Whether rows of an earlier stage are gone with their machine; then they are computed again, and nothing is reported.
pub(crate) fn is_lost_input(error: &DataFusionError) -> bool {
    let DataFusionError::External(inner) = error.find_root() else {
        return false;
    };
    match inner.downcast_ref::<BallistaError>() {
        Some(BallistaError::FetchFailed(..) | BallistaError::IoError(_)) => true,
        Some(BallistaError::DataFusionError(inner)) => is_lost_input(inner),
        _ => false,
    }
}

/// What to tell of an error of a task, whatever Ballista wrapped around it.
fn task_report(error: &DataFusionError) -> SqlError {
    if let DataFusionError::External(inner) = error.find_root() {
        match inner.downcast_ref() {
            Some(BallistaError::DataFusionError(inner)) => return task_report(inner),
            Some(BallistaError::ArrowError(inner)) => return arrow_report(inner),
            _ => {}
        }
    }
    report(error)
}

/// An error of a task, as the scheduler carries it: text, which is not tried again.
fn wire_err(error: &SqlError) -> DataFusionError {
    DataFusionError::Execution(error_to_text(error))
}

/// What Ballista says of a job that was cancelled, and of one without executors. It tells of a job that failed in a text, and
/// in nothing else.
const CANCELLED: &str = "Cancelled";
const WITHOUT_EXECUTORS: &str = "all executors were lost";

/// The error in the text of a job that failed.
fn job_err(text: &str) -> DataFusionError {
    match error_from_text(text) {
        Some(error) => error.into(),
        None if text.contains(CANCELLED) => {
            sql_err(SqlState::Cancelled, "the statement was cancelled")
        }
        None if text.contains(WITHOUT_EXECUTORS) => {
            let message =
                "the cluster lost every executor, and none joined since; start some, and try again";
            sql_err(SqlState::NoResources, message)
        }
        None => {
            let message = format!("the cluster failed: {text}");
            sql_err(SqlState::Internal, message)
        }
    }
}
