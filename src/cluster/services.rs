//! [`Cluster`]: the scheduler in the engine's process, and the services beside it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballista_core::JobId;
use ballista_scheduler::cluster::JobState;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};

use super::address::{failed_at, resolve};
use super::counters::Counters;
use super::liveness::watch;
use super::placement::BarrierClusterState;
use super::rendezvous::{Coordinator, LINK_TIMEOUT};
use super::scheduler::{self, Scheduler};
use super::secure::Security;
use super::settings::STACK_BYTES;
use crate::error::{Result, SqlState, sql_err};
use crate::progress::{ProgressEvent, ProgressListener};
use crate::train::SlotsWanted;

const FREE_PORT_TRIES: usize = 100;
const POLL: Duration = Duration::from_millis(20);
/// An executor that joins later than this after the last one is not awaited.
const SETTLED: Duration = Duration::from_secs(2);

/// The scheduler in the engine's process, and the services beside it.
pub(crate) struct Cluster {
    pub(super) scheduler: Scheduler,
    pub(super) job_state: Arc<dyn JobState>,
    pub(super) placement: Arc<BarrierClusterState>,
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) security: Security,
    secret_file: Option<PathBuf>,
    address: SocketAddr,
    rendezvous_port: u16,
    pub(super) counters: Counters,
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
    /// Starts a scheduler that executors reach at `address`, `host:port`; port 0 picks a free port. An address beyond the
    /// loopback device needs a secret, in `secret_file`. `link_timeout` is the least time without movement after which a
    /// path between the workers of a training counts as lost.
    pub(crate) fn start(
        address: &str,
        secret_file: Option<&Path>,
        link_timeout: Option<Duration>,
    ) -> Result<Self> {
        let security = Security::open(secret_file)?;
        let socket = resolve(address)?;
        if socket.ip().is_unspecified() {
            let message = format!(
                "--cluster {address}: executors report to this address; name an address by which they reach this machine"
            );
            return Err(sql_err(SqlState::InvalidParameter, message));
        }
        security.check("--cluster", socket)?;
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
        let link_timeout = link_timeout.unwrap_or(LINK_TIMEOUT);
        let coordinator = Arc::new(Coordinator::new(security.clone(), link_timeout));
        runtime.spawn(async move {
            // The receiver waits below.
            let _ = sender.send(start_services(socket, security, &handle, coordinator).await);
        });
        let ended = |_| sql_err(SqlState::Internal, "the scheduler did not start");
        let mut cluster = receiver.recv().map_err(ended)??;
        cluster.secret_file = secret_file.map(Path::to_owned);
        cluster.runtime = Some(runtime);
        Ok(cluster)
    }

    /// The address of the scheduler.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port of the coordinator, on the scheduler's host.
    pub(crate) fn rendezvous_port(&self) -> u16 {
        self.rendezvous_port
    }

    /// The current slots of all executors.
    pub(crate) async fn slots_now(&self) -> usize {
        self.placement.slots().await
    }

    /// The slots of all executors. Waits up to `wait_s` seconds for the wanted slots, and informs the listener.
    ///
    /// # Errors
    /// `NoResources` if no executor joined in that time. There may be fewer slots than wanted.
    pub(crate) async fn slots(
        &self,
        wanted: SlotsWanted,
        wait_s: usize,
        listener: Option<&ProgressListener>,
    ) -> Result<usize> {
        let wait = Duration::from_secs(wait_s as u64);
        let began = Instant::now();
        loop {
            let slots = self.placement.slots().await;
            let is_enough = match wanted {
                SlotsWanted::AtLeast(wanted) => slots >= wanted,
                SlotsWanted::AllThatJoin { enough } if slots >= enough => true,
                SlotsWanted::AllThatJoin { .. } => {
                    let last_join = self.placement.since_last_join();
                    slots > 0 && last_join.is_some_and(|last_join| last_join >= SETTLED)
                }
            };
            if is_enough || (slots > 0 && began.elapsed() >= wait) {
                return Ok(slots);
            }
            if began.elapsed() >= wait {
                let message = format!(
                    "no executor joined within {} s; start one: {}",
                    wait.as_secs(),
                    self.executor_command()
                );
                return Err(sql_err(SqlState::NoResources, message));
            }
            if let Some(listener) = listener {
                let command = self.executor_command();
                let what = match (wanted, slots) {
                    (_, 0) => format!("an executor: {command}"),
                    (SlotsWanted::AtLeast(wanted), slots) => {
                        format!("{wanted} slots ({slots} have joined); start more with: {command}")
                    }
                    (SlotsWanted::AllThatJoin { .. }, slots) => {
                        format!("further executors ({slots} slots have joined)")
                    }
                };
                listener(ProgressEvent::Waiting { what });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The command that starts an executor of this cluster on its machine.
    pub(crate) fn executor_command(&self) -> String {
        let listen = match self.address.ip().is_loopback() {
            true => "",
            false => " --listen 0.0.0.0:50060",
        };
        let secret = self.secret_file.as_ref();
        let secret = secret.map(|path| format!(" --cluster-secret-file {}", path.display()));
        let (scheduler, secret) = (self.address, secret.unwrap_or_default());
        format!("vatic executor --scheduler {scheduler}{listen}{secret}")
    }

    /// Removes the files of a job on the executors, and what the scheduler keeps of the job: its plan, and the metrics of
    /// each task and file. The scheduler itself removes the rest later: jobs that it has not recorded as over yet.
    pub(super) async fn forget(&self, id: JobId) {
        // The state is in memory, so the call cannot fail.
        let _ = self.job_state.remove_job(&id).await;
        self.scheduler.state.executor_manager.clean_up_job_data(id);
    }

    /// The runtime of the scheduler; `None` once it has ended.
    pub(super) fn handle(&self) -> Option<&Handle> {
        self.runtime.as_ref().map(Runtime::handle)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping a runtime blocks, which a thread of another runtime must not do.
            runtime.shutdown_background();
        }
    }
}

/// Starts the scheduler and the coordinator on this runtime, which the cluster does not own yet.
async fn start_services(
    socket: SocketAddr,
    security: Security,
    handle: &Handle,
    coordinator: Arc<Coordinator>,
) -> Result<Cluster> {
    let (listener, ranks) = listeners(socket).await?;
    let address = listener.local_addr().map_err(failed_at(socket))?;
    let rendezvous_port = ranks.local_addr().map_err(failed_at(address))?.port();
    let placement = Arc::new(BarrierClusterState::new(Arc::clone(&coordinator)));
    let job_state = scheduler::job_state();
    let started = scheduler::start(
        listener,
        Arc::clone(&placement),
        Arc::clone(&job_state),
        security.clone(),
    );
    let (scheduler, serving) = started.await?;
    handle.spawn(serving);
    handle.spawn(watch(Arc::clone(&placement)));
    handle.spawn(Arc::clone(&coordinator).serve(ranks));
    Ok(Cluster {
        scheduler,
        job_state,
        placement,
        coordinator,
        security,
        secret_file: None,
        address,
        rendezvous_port,
        counters: Counters::default(),
        runtime: None,
    })
}

/// The listeners of the scheduler and, at the next port, of the coordinator: executors report to the next port, and
/// firewalls can allow it. Port 0 picks two free ports.
async fn listeners(scheduler: SocketAddr) -> Result<(TcpListener, TcpListener)> {
    let mut tries = match scheduler.port() {
        0 => FREE_PORT_TRIES,
        _ => 1,
    };
    loop {
        let failed = failed_at(scheduler);
        let listener = TcpListener::bind(scheduler).await.map_err(&failed)?;
        let mut next = listener.local_addr().map_err(&failed)?;
        // The port after 65535 is taken like any other port that cannot be had.
        let bound = match next.port().checked_add(1) {
            Some(port) => {
                next.set_port(port);
                TcpListener::bind(next).await
            }
            None => Err(ErrorKind::AddrNotAvailable.into()),
        };
        tries -= 1;
        match bound {
            Ok(ranks) => return Ok((listener, ranks)),
            Err(_) if tries > 0 => {}
            Err(error) => {
                let message = format!(
                    "listening at {next}: {error}; executors report to the port after that of the scheduler, so name an address whose next port is free too"
                );
                return Err(sql_err(SqlState::Io, message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_coordinator_listens_at_the_port_after_the_schedulers() {
        let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut held = Vec::new();
        // Every second port is taken soon, so some of these pairs are found at a later try.
        for _ in 0..200 {
            let (scheduler, ranks) = listeners(anywhere).await.unwrap();
            let port = scheduler.local_addr().unwrap().port();
            assert_eq!(ranks.local_addr().unwrap().port(), port + 1);
            held.push(ranks);
        }
        let taken = held[0].local_addr().unwrap();
        let before = SocketAddr::new(taken.ip(), taken.port() - 1);
        let error = listeners(before).await.unwrap_err().to_string();
        assert!(error.contains(&format!("listening at {taken}")), "{error}");
        assert!(
            error.contains("port after that of the scheduler"),
            "{error}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn executors_that_join_one_after_the_other_are_awaited() {
        let cluster = Cluster::start("127.0.0.1:0", None, None).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let join = async |id: &str| cluster.placement.register_of_test(id, address).await;
        let joining = async {
            for id in ["one", "two", "three"] {
                join(id).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        let all = SlotsWanted::AllThatJoin { enough: 100 };
        let (slots, ()) = tokio::join!(cluster.slots(all, 60, None), joining);
        assert_eq!(slots.unwrap(), 3);
        // No further executor is awaited if there are enough slots, or after the time.
        let began = Instant::now();
        join("four").await;
        for (wanted, wait_s) in [
            (SlotsWanted::AllThatJoin { enough: 4 }, 60),
            (SlotsWanted::AtLeast(4), 60),
            (SlotsWanted::AtLeast(5), 0),
        ] {
            let slots = cluster.slots(wanted, wait_s, None).await;
            assert_eq!(slots.unwrap(), 4, "{wanted:?}");
        }
        assert!(began.elapsed() < SETTLED);
    }
}
