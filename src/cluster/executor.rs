//! The executor, `vatic executor --scheduler H:P`. It may start before its scheduler, and rejoins a restarted scheduler.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::extension::SessionConfigExt;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_executor::executor_server::TERMINATING;
use datafusion::common::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::address::resolve;
use super::codec::PlanCodec;
use super::rendezvous::{RemoteRendezvous, Stock, introduce, report_until_refused};
use super::scheduler::node_config;
use super::secure::{Refused, Security, TlsProxy};
use super::settings::STACK_BYTES;
use super::task::{TaskEngine, Tasks};
use crate::error::{Result, SqlState, io_err, report, sql_err};
use crate::extensions::EXTENSIONS;
use crate::memory::{Memory, file_caches, machine_bytes};
use crate::model::runtime::ModelRuntime;
use crate::plan::functions::functions_state;
use crate::storage::Stores;
use crate::train::RendezvousExtension;

const HEARTBEAT_S: u64 = 2;
/// The time of one attempt to reach the scheduler; the number of attempts is not limited.
const CONNECT_S: u16 = 5;
const RETRY: Duration = Duration::from_secs(1);
/// An executor that is refused so often in a row ends.
const REFUSALS_MAX: usize = 3;
/// How long tasks may run after a signal.
const DRAIN: Duration = Duration::from_secs(10);
/// The share of the machine's memory that all tasks together may reserve.
const TASK_MEMORY_SHARE: f64 = 0.7;
/// The share of the machine's memory for tasks and loaded models: models have memory even while tasks use all of theirs.
const MEMORY_SHARE: f64 = 0.8;

/// The options of an executor.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// `host:port` of the scheduler.
    pub scheduler: String,
    /// The number of parallel tasks; one per core if `None`.
    pub slots: Option<usize>,
    /// The `host:port` where others fetch rows; the next port is for the scheduler. Port 0 picks both ports.
    pub listen: String,
    /// The directory for rows between stages; a temporary directory if `None`.
    pub work_dir: Option<PathBuf>,
    /// The file with the secret of the cluster; addresses beyond the loopback device need one.
    pub cluster_secret_file: Option<PathBuf>,
    /// The library of onnxruntime, for models that run on it.
    pub onnxruntime: Option<PathBuf>,
}

/// Runs an executor until a signal ends the process.
///
/// # Errors
/// If an address, the directory or the secret file cannot be used, or if the engine has another secret or is of another
/// build. An executor waits for a scheduler that is not running.
pub fn run_executor(options: &ExecutorOptions) -> Result<()> {
    Executor::start(options)?.wait()
}

/// An executor in this process. Dropping the executor ends it at once, as the end of its process would.
#[derive(Debug)]
pub struct Executor {
    runtime: Option<Runtime>,
    serving: Option<JoinHandle<Result<()>>>,
    is_told_to_end: Arc<AtomicBool>,
    _temporary: Option<TempDir>,
}

impl Executor {
    /// Starts an executor.
    ///
    /// # Errors
    /// If an address, the directory or the secret file cannot be used. An executor waits for a scheduler that is not
    /// running.
    pub fn start(options: &ExecutorOptions) -> Result<Self> {
        let has_port = |(_, port): (&str, &str)| port.parse::<u16>().is_ok();
        if !options.scheduler.rsplit_once(':').is_some_and(has_port) {
            let message = format!("--scheduler {} is not host:port", options.scheduler);
            return Err(sql_err(SqlState::InvalidParameter, message));
        }
        let security = Security::open(options.cluster_secret_file.as_deref())?;
        let listen = resolve(&options.listen)?;
        security.check("--listen", listen)?;
        // A name that is not known yet is checked when it is.
        if let Ok(scheduler) = resolve(&options.scheduler) {
            security.check("--scheduler", scheduler)?;
        }
        let (work_dir, temporary) = work_dir(options)?;
        let node = Node::try_new(options, listen, work_dir, security)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(node.slots.max(2))
            .thread_name("vatic-executor")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| io_err("executor", &error))?;
        let is_told_to_end = Arc::new(AtomicBool::new(false));
        let serving = runtime.spawn(serve(node, Arc::clone(&is_told_to_end)));
        Ok(Self {
            runtime: Some(runtime),
            serving: Some(serving),
            is_told_to_end,
            _temporary: temporary,
        })
    }

    /// Waits for a signal, then up to [`DRAIN`] for the executor to inform its scheduler and to finish its tasks. Also
    /// returns when an engine refuses this executor.
    fn wait(mut self) -> Result<()> {
        let (Some(runtime), Some(mut serving)) = (&self.runtime, self.serving.take()) else {
            return Ok(());
        };
        runtime.block_on(async {
            tokio::select! {
                () = shutdown_signal() => {}
                ended = &mut serving => return ended.unwrap_or_else(|error| {
                    Err(sql_err(SqlState::Internal, format!("the executor: {error}")))
                }),
            }
            self.is_told_to_end.store(true, Ordering::Relaxed);
            tracing::info!("received a signal to end");
            if tokio::time::timeout(DRAIN, serving).await.is_err() {
                tracing::warn!("tasks did not finish in time");
            }
            Ok(())
        })
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Serves one connection to the scheduler after the other. A connection ends when the scheduler is lost, or has given
/// the executor up; a later connection may succeed. An engine that refuses this executor would refuse it again.
async fn serve(node: Node, is_told_to_end: Arc<AtomicBool>) -> Result<()> {
    let scheduler = &node.scheduler;
    let slots = node.slots;
    tracing::info!(slots, "looking for the scheduler at {scheduler}");
    let is_far = resolve(scheduler).is_ok_and(|address| !address.ip().is_loopback());
    if is_far && node.listen.ip().is_loopback() {
        let listen = node.listen;
        tracing::warn!(
            "the scheduler cannot reach --listen {listen}; name an address of this machine, or 0.0.0.0:50060"
        );
    }
    let mut refusals = 0;
    while !is_told_to_end.load(Ordering::Relaxed) {
        match serve_once(&node, &is_told_to_end).await {
            Ok(()) => {
                refusals = 0;
                tracing::info!("not connected to the scheduler any more");
            }
            Err(error) => {
                if let Some(refused) = Refused::of(&error) {
                    refusals += 1;
                    // A single refusal may come from another program that has the port while the engine restarts.
                    if refusals >= REFUSALS_MAX {
                        tracing::error!("{refused}");
                        return Err(sql_err(SqlState::NotAllowed, refused.to_string()));
                    }
                }
                tracing::warn!(%error, "not connected to the scheduler at {scheduler}");
            }
        }
        TERMINATING.store(false, Ordering::Release);
        if !is_told_to_end.load(Ordering::Relaxed) {
            tokio::time::sleep(RETRY).await;
        }
    }
    Ok(())
}

/// Serves one connection to the scheduler.
async fn serve_once(node: &Node, is_told_to_end: &AtomicBool) -> io::Result<()> {
    let scheduler = node.scheduler()?;
    introduce(scheduler, &node.security).await?;
    // The signal to end may have come meanwhile.
    if is_told_to_end.load(Ordering::Relaxed) {
        return Ok(());
    }
    let other = |error: DataFusionError| io::Error::other(report(&error).message);
    let (config, tls_proxy) = node.config(scheduler).map_err(other)?;
    let id = config.executor_id.clone();
    let tls_proxy = async {
        match tls_proxy {
            Some(tls_proxy) => tls_proxy.serve().await,
            None => std::future::pending().await,
        }
    };
    let lost = |successor: Option<&str>| node.tasks.stop(successor);
    let reporting = report_until_refused(scheduler, &node.security, &id, &node.stock, lost);
    tokio::select! {
        // Ballista's process handles the signals too, and ends by itself.
        ended = start_executor_process(Arc::new(config)) => {
            ended.map_err(|error| io::Error::other(error.to_string()))
        }
        refused = reporting => Err(refused),
        never = tls_proxy => match never {},
    }
}

/// Returns on SIGINT or SIGTERM.
async fn shutdown_signal() {
    let wait = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot listen for a signal");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
    }
}

/// The directory for rows between stages. A temporary directory is removed when it is dropped.
fn work_dir(options: &ExecutorOptions) -> Result<(PathBuf, Option<TempDir>)> {
    let failed = |error: io::Error| io_err("work directory", &error);
    if let Some(path) = &options.work_dir {
        std::fs::create_dir_all(path).map_err(failed)?;
        return Ok((path.clone(), None));
    }
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("vatic-executor-");
    let temporary = builder.tempdir().map_err(failed)?;
    Ok((temporary.path().to_owned(), Some(temporary)))
}

/// The state that an executor keeps across its connections to the scheduler.
struct Node {
    /// Resolved again for each connection, because a name may refer to another machine later.
    scheduler: String,
    listen: SocketAddr,
    security: Security,
    slots: usize,
    work_dir: PathBuf,
    /// The memory of tasks and of loaded models.
    memory: Arc<Memory>,
    stock: Arc<Stock>,
    functions: Arc<BallistaFunctionRegistry>,
    tasks: Arc<Tasks>,
}

/// The memory for tasks and loaded models; no limit if the machine's memory is not known.
fn memory_bytes() -> Option<usize> {
    machine_bytes().map(|bytes| (bytes as f64 * MEMORY_SHARE) as usize)
}

/// The GPUs of this process that can be used, or `cpu`.
fn devices() -> Vec<String> {
    let gpus = vatic_ml::device::gpus().unwrap_or_default().into_iter();
    let usable = gpus.filter(|gpu| gpu.failure.is_none());
    let devices: Vec<String> = usable.map(|gpu| gpu.device.to_string()).collect();
    match devices.is_empty() {
        true => vec!["cpu".into()],
        false => devices,
    }
}

impl Node {
    fn try_new(
        options: &ExecutorOptions,
        listen: SocketAddr,
        work_dir: PathBuf,
        security: Security,
    ) -> Result<Self> {
        let slots = options.slots.unwrap_or_else(vatic_ml::device::cores).max(1);
        let memory = Arc::new(Memory::of_tasks(memory_bytes()));
        let runtime = ModelRuntime::new(vec![], vec![], options.onnxruntime.clone(), &memory);
        Ok(Self {
            scheduler: options.scheduler.clone(),
            listen,
            security,
            slots,
            work_dir,
            memory,
            stock: Arc::new(Stock::new(runtime, devices())),
            functions: Arc::new(BallistaFunctionRegistry::from(&functions_state()?)),
            tasks: Arc::default(),
        })
    }

    /// The current address of the scheduler.
    fn scheduler(&self) -> io::Result<SocketAddr> {
        let message = |error: DataFusionError| report(&error).message;
        let found = resolve(&self.scheduler).map_err(|error| io::Error::other(message(error)))?;
        let checked = self.security.check("--scheduler", found);
        checked.map_err(|error| Refused::error(message(error)))?;
        Ok(found)
    }

    /// The configuration of a connection to the scheduler, and with a secret the encrypted way to its server of tasks. Each
    /// connection has a new executor id and directory: the scheduler may still know the last id.
    fn config(&self, scheduler: SocketAddr) -> Result<(ExecutorProcessConfig, Option<TlsProxy>)> {
        let id = format!("executor-{}", uuid::Uuid::new_v4());
        let work_dir = self.work_dir.join(&id);
        std::fs::create_dir_all(&work_dir).map_err(|error| io_err("work directory", &error))?;
        let (port, grpc_port) = self.ports()?;
        let ip = self.listen.ip();
        let rendezvous = Arc::new(RendezvousExtension(Arc::new(RemoteRendezvous {
            host: scheduler.ip().to_string(),
            security: self.security.clone(),
        })));
        let runtime = Arc::clone(self.stock.runtime());
        let endpoints = self.security.endpoint_override();
        let session = move || -> SessionConfig {
            let config = node_config()
                .with_extension(Arc::clone(&runtime))
                .with_extension(Arc::clone(&rendezvous));
            match &endpoints {
                Some(endpoints) => {
                    config.with_ballista_override_create_grpc_client_endpoint(Arc::clone(endpoints))
                }
                None => config,
            }
        };
        let spills = work_dir.clone();
        let runtime_env = move |_: &SessionConfig| {
            RuntimeEnvBuilder::new()
                .with_temp_file_path(spills.clone())
                .with_object_store_registry(Arc::new(Stores::default()))
                .with_cache_manager(file_caches())
                .build_arc()
        };
        let mut config = ExecutorProcessConfig {
            executor_id: id,
            bind_host: ip.to_string(),
            // Without an external host, the scheduler takes the address that it sees.
            external_host: Some(ip.to_string()).filter(|_| !ip.is_unspecified()),
            port,
            grpc_port,
            scheduler_host: scheduler.ip().to_string(),
            scheduler_port: scheduler.port(),
            scheduler_connect_timeout_seconds: CONNECT_S,
            vcores: self.slots,
            task_scheduling_policy: TaskSchedulingPolicy::PushStaged,
            work_dir: Some(work_dir.to_string_lossy().into_owned()),
            executor_heartbeat_interval_seconds: HEARTBEAT_S,
            memory_pool_fraction: TASK_MEMORY_SHARE,
            override_execution_engine: Some(Arc::new(TaskEngine::new(
                Arc::clone(&self.tasks),
                self.security.clone(),
                Arc::clone(&self.memory),
            ))),
            override_function_registry: Some(Arc::clone(&self.functions)),
            override_config_producer: Some(Arc::new(session)),
            override_runtime_producer: Some(Arc::new(runtime_env)),
            override_physical_codec: Some(Arc::new(PlanCodec::new(EXTENSIONS))),
            override_create_grpc_client_endpoint: self.security.endpoint_override(),
            ..Default::default()
        };
        let tls_proxy = match self.security.has_secret() {
            true => self.encrypt(&mut config, scheduler)?,
            false => None,
        };
        Ok((config, tls_proxy))
    }

    /// Replaces the server of rows by an encrypted one, and leads the server of tasks, which Ballista binds itself, through
    /// a [`TlsProxy`]. The server of tasks has the port of the proxy, on the loopback device: the scheduler is told this port.
    fn encrypt(
        &self,
        config: &mut ExecutorProcessConfig,
        scheduler: SocketAddr,
    ) -> Result<Option<TlsProxy>> {
        let failed = |error: io::Error| io_err(format!("listening at {}", self.listen), &error);
        let ip = local_ip(self.listen.ip(), scheduler).map_err(failed)?;
        let listen = |port: u16| -> io::Result<tokio::net::TcpListener> {
            let listener = TcpListener::bind((ip, port))?;
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        };
        let rows = listen(config.port).map_err(failed)?;
        let tasks = listen(config.grpc_port).map_err(failed)?;
        let inner = inner_ip(ip, config.grpc_port).map_err(failed)?;
        let server = SocketAddr::from((inner, config.grpc_port));
        config.bind_host = server.ip().to_string();
        let message_bytes_max = config.grpc_max_encoding_message_size as usize;
        config.override_arrow_flight_service =
            self.security.flight_provider(rows, message_bytes_max);
        Ok(self.security.tls_proxy(tasks, server))
    }

    fn ports(&self) -> Result<(u16, u16)> {
        let port = self.listen.port();
        if port != 0 {
            let next = port.checked_add(1).ok_or_else(|| {
                let message = "--listen needs a port below 65535: the next port is used too";
                sql_err(SqlState::InvalidParameter, message)
            })?;
            return Ok((port, next));
        }
        free_ports(self.listen.ip())
    }
}

/// The address at which other machines reach this machine: `listen`, or if that is any address, the one from which this
/// machine reaches the scheduler.
fn local_ip(listen: IpAddr, scheduler: SocketAddr) -> io::Result<IpAddr> {
    if !listen.is_unspecified() {
        return Ok(listen);
    }
    let any: IpAddr = match scheduler {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a socket of UDP sends nothing; the system chooses the address.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(scheduler)?;
    Ok(socket.local_addr()?.ip())
}

/// An address of the loopback device, other than `outer`, at which `port` is free now. Executors of one machine with different
/// addresses may have one port, so they need different ones here too. 127.0.0.1 comes last: another executor may listen there.
/// Some systems have no other one.
fn inner_ip(outer: IpAddr, port: u16) -> io::Result<Ipv4Addr> {
    let others = (2..=254).map(|last| Ipv4Addr::new(127, 0, 0, last));
    let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
    for ip in others.chain([Ipv4Addr::LOCALHOST]) {
        if outer == ip {
            continue;
        }
        match TcpListener::bind((ip, port)) {
            Ok(_) => return Ok(ip),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Two ports that are free now. They are bound later, so another process may still take them first.
fn free_ports(ip: IpAddr) -> Result<(u16, u16)> {
    let failed = |error: io::Error| io_err(format!("listening at {ip}"), &error);
    let (one, other) = (
        TcpListener::bind((ip, 0)).map_err(failed)?,
        TcpListener::bind((ip, 0)).map_err(failed)?,
    );
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    Ok((port(&one).map_err(failed)?, port(&other).map_err(failed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executors_with_one_port_and_different_addresses_do_not_collide_on_the_loopback_device() {
        let far: IpAddr = Ipv4Addr::new(10, 0, 0, 1).into();
        let (port, _) = free_ports(Ipv4Addr::LOCALHOST.into()).unwrap();
        let first = inner_ip(far, port).unwrap();
        let _held = TcpListener::bind((first, port)).unwrap();
        let second = inner_ip(far, port).unwrap();
        assert_ne!(first, second);
        let near = IpAddr::from(second);
        assert_ne!(inner_ip(near, port).unwrap(), second);
        // An executor at 127.0.0.1 can have the port too.
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }
}
