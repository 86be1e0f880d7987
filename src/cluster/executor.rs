//! An executor: `vatic executor --scheduler H:P`. It may start before its scheduler, and joins again when that restarts.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_executor::executor_server::TERMINATING;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::address::resolve;
use super::codec::PlanCodec;
use super::rendezvous::{RemoteRendezvous, tell_models};
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
/// One try to reach the scheduler; there are any number.
const CONNECT_S: u16 = 5;
const RETRY: Duration = Duration::from_secs(1);
/// How long tasks may go on after a signal.
const DRAIN: Duration = Duration::from_secs(10);

/// How an executor is started.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// `host:port` of the scheduler.
    pub scheduler: String,
    /// Tasks at once; one for each core if `None`.
    pub slots: Option<usize>,
    /// Where others fetch rows, `host:port`; the port after it is for the scheduler. Port 0 picks both.
    pub listen: String,
    /// Where rows between stages are written; a temporary directory if `None`.
    pub work_dir: Option<PathBuf>,
}

/// Runs an executor until the process is told to end.
///
/// # Errors
/// If an address or the directory cannot be used. A scheduler that is not there is waited for.
pub fn run_executor(options: &ExecutorOptions) -> Result<()> {
    Executor::start(options)?.wait();
    Ok(())
}

/// An executor in this process. Dropping it ends it at once, as the end of its process would.
#[derive(Debug)]
pub struct Executor {
    runtime: Option<Runtime>,
    serving: Option<JoinHandle<()>>,
    is_told_to_end: Arc<AtomicBool>,
}

impl Executor {
    /// Starts an executor.
    ///
    /// # Errors
    /// If an address or the directory cannot be used. A scheduler that is not there is waited for.
    pub fn start(options: &ExecutorOptions) -> Result<Self> {
        let node = Node::try_new(options)?;
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
        })
    }

    /// Waits for a signal, then for the executor to tell its scheduler and to finish its tasks, if they are short.
    fn wait(mut self) {
        let (Some(runtime), Some(serving)) = (&self.runtime, self.serving.take()) else {
            return;
        };
        runtime.block_on(async {
            told_to_end().await;
            self.is_told_to_end.store(true, Ordering::Relaxed);
            tracing::info!("told to end");
            if tokio::time::timeout(DRAIN, serving).await.is_err() {
                tracing::warn!("tasks are left behind");
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

/// Serves one connection to the scheduler after the other. A connection ends when the scheduler is lost, or gave the
/// executor up; both may pass.
async fn serve(node: Node, is_told_to_end: Arc<AtomicBool>) {
    let scheduler = &node.scheduler;
    let slots = node.slots;
    tracing::info!(slots, "looking for the scheduler at {scheduler}");
    while !is_told_to_end.load(Ordering::Relaxed) {
        let ended = match node.config() {
            Ok((config, scheduler)) => {
                let id = config.executor_id.clone();
                tokio::select! {
                    // It hears the signals too, and ends by itself.
                    ended = start_executor_process(Arc::new(config)) => {
                        ended.map_err(|error| error.to_string())
                    }
                    never = tell_models(scheduler, &id, || node.models(), || node.tasks.stop()) => {
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

/// Returns when the process is told to end.
async fn told_to_end() {
    let wait = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "a signal cannot be heard");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
    }
}

/// What an executor keeps over its connections to the scheduler.
struct Node {
    /// A name may mean another machine later, so it is looked up again for each connection.
    scheduler: String,
    listen: SocketAddr,
    slots: usize,
    work_dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    runtime: Arc<ModelRuntime>,
    functions: Arc<BallistaFunctionRegistry>,
    tasks: Arc<Tasks>,
}

impl Node {
    fn try_new(options: &ExecutorOptions) -> Result<Self> {
        let has_port = |(_, port): (&str, &str)| port.parse::<u16>().is_ok();
        if !options.scheduler.rsplit_once(':').is_some_and(has_port) {
            let message = format!("--scheduler {} is not host:port", options.scheduler);
            return Err(sql_err(SqlState::InvalidParameter, message));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = options.slots.unwrap_or(cores).max(1);
        let failed = |error: std::io::Error| io_err("work directory", &error);
        let (work_dir, temporary) = match &options.work_dir {
            Some(path) => {
                std::fs::create_dir_all(path).map_err(failed)?;
                (path.clone(), None)
            }
            None => {
                let mut builder = tempfile::Builder::new();
                let temporary = builder
                    .prefix("vatic-executor-")
                    .tempdir()
                    .map_err(failed)?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        Ok(Self {
            scheduler: options.scheduler.clone(),
            listen: resolve(&options.listen)?,
            slots,
            work_dir,
            _temporary: temporary,
            runtime: Arc::new(ModelRuntime::new(vec![], vec![])),
            functions: Arc::new(BallistaFunctionRegistry::from(&functions_state()?)),
            tasks: Arc::default(),
        })
    }

    /// What is loaded, by name.
    fn models(&self) -> Vec<String> {
        let cached = self.runtime.cached().into_iter();
        cached.map(|model| model.name).collect()
    }

    /// A connection's configuration, and the address of the scheduler. Its id and directory are new: the scheduler may
    /// still know the last one.
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
            // Unless it is told, the scheduler takes the address that it sees.
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
                let message = "--listen needs a port below 65535: the one after it is used too";
                sql_err(SqlState::InvalidParameter, message)
            })?;
            return Ok((port, next));
        }
        free_ports(self.listen.ip())
    }
}

/// Two ports that nobody has now. Ballista binds them itself, so another process may still be faster.
fn free_ports(ip: IpAddr) -> Result<(u16, u16)> {
    let failed = |error: std::io::Error| io_err(format!("listening at {ip}"), &error);
    let (one, other) = (
        TcpListener::bind((ip, 0)).map_err(failed)?,
        TcpListener::bind((ip, 0)).map_err(failed)?,
    );
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    Ok((port(&one).map_err(failed)?, port(&other).map_err(failed)?))
}
