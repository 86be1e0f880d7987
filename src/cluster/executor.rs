//! The executor, `vatic executor --scheduler H:P`. It may start before its scheduler, and rejoins a restarted scheduler.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_executor::executor_server::TERMINATING;
use datafusion::execution::memory_pool::UnboundedMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::address::resolve;
use super::codec::PlanCodec;
use super::rendezvous::{ExecutorReport, RemoteRendezvous, report_forever};
use super::scheduler::node_config;
use super::settings::STACK_BYTES;
use super::task::{TaskEngine, Tasks};
use crate::error::{Result, SqlState, io_err, report, sql_err};
use crate::extensions::EXTENSIONS;
use crate::model::runtime::ModelRuntime;
use crate::plan::functions::functions_state;
use crate::storage::Stores;
use crate::train::RendezvousExtension;

const HEARTBEAT_S: u64 = 2;
/// The time of one attempt to reach the scheduler; the number of attempts is not limited.
const CONNECT_S: u16 = 5;
const RETRY: Duration = Duration::from_secs(1);
/// How long tasks may run after a signal.
const DRAIN: Duration = Duration::from_secs(10);

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
}

/// Runs an executor until a signal ends the process.
///
/// # Errors
/// If an address or the directory cannot be used. An executor waits for a scheduler that is not running.
pub fn run_executor(options: &ExecutorOptions) -> Result<()> {
    Executor::start(options)?.wait();
    Ok(())
}

/// An executor in this process. Dropping the executor ends it at once, as the end of its process would.
#[derive(Debug)]
pub struct Executor {
    runtime: Option<Runtime>,
    serving: Option<JoinHandle<()>>,
    is_told_to_end: Arc<AtomicBool>,
    _temporary: Option<TempDir>,
}

impl Executor {
    /// Starts an executor.
    ///
    /// # Errors
    /// If an address or the directory cannot be used. An executor waits for a scheduler that is not running.
    pub fn start(options: &ExecutorOptions) -> Result<Self> {
        let has_port = |(_, port): (&str, &str)| port.parse::<u16>().is_ok();
        if !options.scheduler.rsplit_once(':').is_some_and(has_port) {
            let message = format!("--scheduler {} is not host:port", options.scheduler);
            return Err(sql_err(SqlState::InvalidParameter, message));
        }
        let listen = resolve(&options.listen)?;
        let (work_dir, temporary) = work_dir(options)?;
        let node = Node::try_new(options, listen, work_dir)?;
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

    /// Waits for a signal, then up to [`DRAIN`] for the executor to inform its scheduler and to finish its tasks.
    fn wait(mut self) {
        let (Some(runtime), Some(serving)) = (&self.runtime, self.serving.take()) else {
            return;
        };
        runtime.block_on(async {
            shutdown_signal().await;
            self.is_told_to_end.store(true, Ordering::Relaxed);
            tracing::info!("received a signal to end");
            if tokio::time::timeout(DRAIN, serving).await.is_err() {
                tracing::warn!("tasks did not finish in time");
            }
        });
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
/// the executor up; a later connection may succeed.
async fn serve(node: Node, is_told_to_end: Arc<AtomicBool>) {
    let scheduler = &node.scheduler;
    let slots = node.slots;
    tracing::info!(slots, "looking for the scheduler at {scheduler}");
    while !is_told_to_end.load(Ordering::Relaxed) {
        let ended = match node.config() {
            Ok((config, scheduler)) => {
                let id = config.executor_id.clone();
                tokio::select! {
                    // Ballista's process handles the signals too, and ends by itself.
                    ended = start_executor_process(Arc::new(config)) => {
                        ended.map_err(|error| error.to_string())
                    }
                    never = report_forever(scheduler, &id, || node.report(), || node.tasks.stop()) => {
                        match never {}
                    }
                }
            }
            Err(error) => Err(report(&error).message),
        };
        match ended {
            Ok(()) => tracing::info!("not connected to the scheduler any more"),
            Err(error) => tracing::warn!(error, "not connected to the scheduler at {scheduler}"),
        }
        TERMINATING.store(false, Ordering::Release);
        if !is_told_to_end.load(Ordering::Relaxed) {
            tokio::time::sleep(RETRY).await;
        }
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
    let failed = |error: std::io::Error| io_err("work directory", &error);
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
    slots: usize,
    work_dir: PathBuf,
    runtime: Arc<ModelRuntime>,
    functions: Arc<BallistaFunctionRegistry>,
    tasks: Arc<Tasks>,
    /// The GPUs of this process that can be used, or `cpu`.
    devices: Vec<String>,
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
    fn try_new(options: &ExecutorOptions, listen: SocketAddr, work_dir: PathBuf) -> Result<Self> {
        let slots = options.slots.unwrap_or_else(vatic_ml::device::cores).max(1);
        Ok(Self {
            scheduler: options.scheduler.clone(),
            listen,
            slots,
            work_dir,
            runtime: Arc::new(ModelRuntime::new(
                vec![],
                vec![],
                Arc::new(UnboundedMemoryPool::default()),
            )),
            functions: Arc::new(BallistaFunctionRegistry::from(&functions_state()?)),
            tasks: Arc::default(),
            devices: devices(),
        })
    }

    fn report(&self) -> ExecutorReport {
        let cached = self.runtime.cached().into_iter();
        ExecutorReport {
            models: cached.map(|model| model.name).collect(),
            devices: self.devices.clone(),
        }
    }

    /// The configuration of a connection, and the address of the scheduler. Each connection has a new executor id and
    /// directory: the scheduler may still know the last id.
    fn config(&self) -> Result<(ExecutorProcessConfig, SocketAddr)> {
        let scheduler = resolve(&self.scheduler)?;
        let id = format!("executor-{}", uuid::Uuid::new_v4());
        let work_dir = self.work_dir.join(&id);
        std::fs::create_dir_all(&work_dir).map_err(|error| io_err("work directory", &error))?;
        let (port, grpc_port) = self.ports()?;
        let ip = self.listen.ip();
        let rendezvous = Arc::new(RendezvousExtension(Arc::new(RemoteRendezvous {
            host: scheduler.ip().to_string(),
        })));
        let runtime = Arc::clone(&self.runtime);
        let session = move || -> SessionConfig {
            node_config()
                .with_extension(Arc::clone(&runtime))
                .with_extension(Arc::clone(&rendezvous))
        };
        let spills = work_dir.clone();
        let runtime_env = move |_: &SessionConfig| {
            RuntimeEnvBuilder::new()
                .with_temp_file_path(spills.clone())
                .with_object_store_registry(Arc::new(Stores::default()))
                .build_arc()
        };
        let config = ExecutorProcessConfig {
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
            override_execution_engine: Some(Arc::new(TaskEngine::new(Arc::clone(&self.tasks)))),
            override_function_registry: Some(Arc::clone(&self.functions)),
            override_config_producer: Some(Arc::new(session)),
            override_runtime_producer: Some(Arc::new(runtime_env)),
            override_physical_codec: Some(Arc::new(PlanCodec::new(EXTENSIONS))),
            ..Default::default()
        };
        Ok((config, scheduler))
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

/// Two ports that are free now. Ballista binds them itself, so another process may still take them first.
fn free_ports(ip: IpAddr) -> Result<(u16, u16)> {
    let failed = |error: std::io::Error| io_err(format!("listening at {ip}"), &error);
    let (one, other) = (
        TcpListener::bind((ip, 0)).map_err(failed)?,
        TcpListener::bind((ip, 0)).map_err(failed)?,
    );
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    Ok((port(&one).map_err(failed)?, port(&other).map_err(failed)?))
}
