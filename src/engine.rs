//! [`Engine`]: the tables, models, caches and workers of one process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::ScalarUDF;
use vatic_ml::artifact::Loader;
use vatic_ml::model::network::ModelType;

use crate::access::files::FileAccess;
use crate::access::grants::Grants;
use crate::catalog::Catalog;
use crate::cluster::{Cluster, ClusterRunner};
use crate::error::{Result, SqlState, sql_err};
use crate::memory::{Memory, file_caches};
use crate::model::ModelRegistry;
use crate::model::runtime::ModelRuntime;
use crate::storage::Stores;
use crate::storage::data_dir::DataDir;
use crate::storage::state_log::Log;
use crate::train::{LocalRendezvous, LocalRunner, RunLog, TrainRunner};

/// Tables, models and workers of one process.
///
/// ```
/// # #[tokio::main] async fn main() -> datafusion::common::Result<()> {
/// use futures::TryStreamExt;
///
/// let engine = vatic::Engine::builder().build()?;
/// let stream = engine.session()?.sql("SELECT 1 + 1 AS two").await?;
/// let batches: Vec<_> = stream.try_collect().await?;
/// assert_eq!(batches[0].num_rows(), 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<EngineInner>,
}

#[derive(Debug)]
struct EngineInner {
    data: Arc<DataDir>,
    registry: Arc<ModelRegistry>,
    catalog: Arc<Catalog>,
    runs: Arc<RunLog>,
    rendezvous: Arc<LocalRendezvous>,
    runtime: Arc<ModelRuntime>,
    runtime_env: Arc<RuntimeEnv>,
    memory: Memory,
    functions: Vec<Arc<ScalarUDF>>,
    cluster: Option<Arc<Cluster>>,
    files: FileAccess,
    grants: Arc<Grants>,
}

/// The options of an engine.
#[derive(Debug, Default)]
pub struct EngineBuilder {
    data_dir: Option<PathBuf>,
    model_types: Vec<Arc<dyn ModelType>>,
    loaders: Vec<Arc<dyn Loader>>,
    functions: Vec<Arc<ScalarUDF>>,
    memory_limit: Option<usize>,
    disk_limit: Option<u64>,
    cluster: Option<ClusterChoice>,
    link_timeout: Option<Duration>,
    cluster_secret_file: Option<PathBuf>,
    roots: Option<Vec<PathBuf>>,
    onnxruntime: Option<PathBuf>,
}

/// The cluster of an engine.
#[derive(Debug)]
enum ClusterChoice {
    /// A cluster of its own, whose scheduler listens at this address.
    Own(String),
    /// The cluster of another engine, if that engine has one.
    Shared(Option<Arc<Cluster>>),
}

impl EngineBuilder {
    /// The data directory, a path or `s3://bucket/prefix`; without it, tables and models are deleted with the engine.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Adds a model type for TRAIN MODEL.
    #[must_use]
    pub fn model_type(mut self, model_type: Arc<dyn ModelType>) -> Self {
        self.model_types.push(model_type);
        self
    }

    /// Adds a loader of a model format.
    #[must_use]
    pub fn loader(mut self, loader: Arc<dyn Loader>) -> Self {
        self.loaders.push(loader);
        self
    }

    /// Adds a SQL function.
    #[must_use]
    pub fn function(mut self, function: ScalarUDF) -> Self {
        self.functions.push(Arc::new(function));
        self
    }

    /// The memory limit of queries and trainings, in bytes; operators that can spill do so, others fail.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// The disk limit for data that does not fit in memory, in bytes.
    #[must_use]
    pub fn disk_limit(mut self, bytes: u64) -> Self {
        self.disk_limit = Some(bytes);
        self
    }

    /// Runs statements on executors, which find the scheduler at this address, `host:port`. An address beyond the loopback
    /// device needs a [`cluster_secret_file`](Self::cluster_secret_file).
    #[must_use]
    pub fn cluster(mut self, address: impl Into<String>) -> Self {
        self.cluster = Some(ClusterChoice::Own(address.into()));
        self
    }

    /// The least time without movement after which a path between the workers of a training counts as lost, for tests. Files
    /// of a training may take four times as long.
    #[doc(hidden)]
    #[must_use]
    pub fn link_timeout(mut self, timeout: Duration) -> Self {
        self.link_timeout = Some(timeout);
        self
    }

    /// The file with the secret of the cluster, at least 32 bytes: only executors with the same secret may join, and all
    /// connections are encrypted.
    #[must_use]
    pub fn cluster_secret_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.cluster_secret_file = Some(path.into());
        self
    }

    /// Runs statements on the executors of another engine in this process. Tables and models are not shared.
    /// [`EngineBuilder::build`] fails if `engine` has no cluster.
    #[must_use]
    pub fn cluster_of(mut self, engine: &Engine) -> Self {
        self.cluster = Some(ClusterChoice::Shared(engine.cluster().cloned()));
        self
    }

    /// Restricts statements to files below these directories or `s3://bucket/prefix` locations.
    #[must_use]
    pub fn roots(mut self, roots: impl Into<Vec<PathBuf>>) -> Self {
        self.roots = Some(roots.into());
        self
    }

    /// The library of onnxruntime, for models that are imported with `format = 'onnxruntime'`. It is opened with the first of them, and a
    /// process opens one.
    #[must_use]
    pub fn onnxruntime(mut self, path: impl Into<PathBuf>) -> Self {
        self.onnxruntime = Some(path.into());
        self
    }

    /// Opens the engine.
    ///
    /// # Errors
    /// If the data directory or the secret file cannot be opened, the scheduler's address is taken or needs a secret, or
    /// the engine of `cluster_of` has no cluster.
    pub fn build(self) -> Result<Engine> {
        let data = Arc::new(match &self.data_dir {
            Some(path) => DataDir::open(path)?,
            None => DataDir::temporary()?,
        });
        let memory = Memory::new(self.memory_limit);
        let runtime = ModelRuntime::new(self.model_types, self.loaders, self.onnxruntime, &memory);
        let inner = EngineInner {
            registry: Arc::new(ModelRegistry::new(Arc::clone(&data))),
            catalog: Arc::new(Catalog::new(Arc::clone(&data))),
            runs: Arc::new(RunLog::new(Arc::clone(&data))),
            rendezvous: Arc::default(),
            runtime,
            runtime_env: runtime_env(&memory, self.disk_limit)?,
            memory,
            functions: self.functions,
            grants: Arc::new(Grants::new(Log::new(data.grants()))),
            files: match &self.roots {
                Some(roots) => FileAccess::below(roots, data.root())?,
                None => FileAccess::All,
            },
            cluster: match self.cluster {
                Some(ClusterChoice::Own(address)) => {
                    let secret_file = self.cluster_secret_file.as_deref();
                    let cluster = Cluster::start(&address, secret_file, self.link_timeout)?;
                    Some(Arc::new(cluster))
                }
                Some(ClusterChoice::Shared(Some(cluster))) => Some(cluster),
                Some(ClusterChoice::Shared(None)) => {
                    let message = "the engine of cluster_of has no cluster; build it with cluster";
                    return Err(sql_err(SqlState::InvalidParameter, message));
                }
                None => None,
            },
            data,
        };
        let engine = Engine {
            inner: Arc::new(inner),
        };
        engine.remove_orphans();
        Ok(engine)
    }
}

fn runtime_env(memory: &Memory, disk: Option<u64>) -> Result<Arc<RuntimeEnv>> {
    let mut builder = RuntimeEnvBuilder::new()
        .with_object_store_registry(Arc::new(Stores::default()))
        .with_cache_manager(file_caches())
        .with_memory_pool(memory.pool());
    if let Some(bytes) = disk {
        builder = builder.with_max_temp_directory_size(bytes);
    }
    builder.build_arc()
}

impl Engine {
    /// The options of a new engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// The address of the scheduler, if this engine has a cluster of its own or shares one.
    pub fn cluster_address(&self) -> Option<SocketAddr> {
        self.cluster().map(|cluster| cluster.address())
    }

    /// The command that starts an executor of this engine's cluster.
    pub fn executor_command(&self) -> Option<String> {
        self.cluster().map(|cluster| cluster.executor_command())
    }

    /// The slots of all connected executors; 0 without a cluster.
    pub async fn cluster_slots(&self) -> usize {
        match self.cluster() {
            Some(cluster) => cluster.slots_now().await,
            None => 0,
        }
    }

    /// Serves Prometheus metrics at this address, `host:port`, and returns it; port 0 picks a free port.
    ///
    /// # Errors
    /// If there is no cluster, or the address is taken.
    pub fn serve_metrics(&self, address: &str) -> Result<SocketAddr> {
        let none = || {
            let message = "metrics need a cluster; start one with --cluster";
            sql_err(SqlState::InvalidParameter, message)
        };
        self.cluster().ok_or_else(none)?.serve_metrics(address)
    }

    pub(crate) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.inner.cluster.as_ref()
    }

    pub(crate) fn data(&self) -> &DataDir {
        &self.inner.data
    }

    pub(crate) fn grants(&self) -> &Arc<Grants> {
        &self.inner.grants
    }

    pub(crate) fn files(&self) -> &FileAccess {
        &self.inner.files
    }

    pub(crate) fn registry(&self) -> &Arc<ModelRegistry> {
        &self.inner.registry
    }

    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.inner.catalog
    }

    pub(crate) fn runs(&self) -> &Arc<RunLog> {
        &self.inner.runs
    }

    pub(crate) fn rendezvous(&self) -> &Arc<LocalRendezvous> {
        &self.inner.rendezvous
    }

    /// The runner of trainings: in this process, or on the cluster.
    pub(crate) fn runner(&self) -> Arc<dyn TrainRunner> {
        match self.cluster() {
            Some(cluster) => Arc::new(ClusterRunner(Arc::clone(cluster))),
            None => Arc::new(LocalRunner(Arc::clone(self.rendezvous()))),
        }
    }

    pub(crate) fn runtime(&self) -> &Arc<ModelRuntime> {
        &self.inner.runtime
    }

    pub(crate) fn runtime_env(&self) -> &Arc<RuntimeEnv> {
        &self.inner.runtime_env
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.inner.memory
    }

    pub(crate) fn functions(&self) -> &[Arc<ScalarUDF>] {
        &self.inner.functions
    }

    /// Runs in the background, so that the start does not wait for it; orphans may wait for a day anyway.
    pub(crate) fn remove_orphans(&self) {
        let engine = self.clone();
        let clean = move || {
            // A training writes its files at its end, which may be more than a day after it created their directory.
            if engine
                .runs()
                .list()?
                .iter()
                .any(|run| run.status == "RUNNING")
            {
                return Ok(0);
            }
            let mut used = engine.registry().used_directories()?;
            used.extend(engine.catalog().used_directories()?);
            engine.data().remove_orphans(&used)
        };
        let spawned = std::thread::Builder::new()
            .name("vatic-orphans".into())
            .spawn(move || match clean() {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed orphaned files"),
                Err(error) => tracing::warn!(%error, "orphaned files cannot be removed"),
            });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread to remove orphaned files");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::report;

    #[test]
    fn an_engine_without_a_cluster_cannot_share_one() {
        let alone = Engine::builder().build().unwrap();
        let error = Engine::builder().cluster_of(&alone).build().unwrap_err();
        assert_eq!(report(&error).state, SqlState::InvalidParameter);
    }
}
