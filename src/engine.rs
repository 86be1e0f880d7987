//! [`Engine`]: what one process owns.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::ScalarUDF;
use vatic_ml::artifact::Loader;
use vatic_ml::model::network::ModelType;

use crate::access::files::FileAccess;
use crate::access::grants::Grants;
use crate::catalog::Catalog;
use crate::cluster::{Cluster, ClusterRunner};
use crate::error::{Result, SqlState, sql_err};
use crate::memory::Memory;
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

/// How an engine is made.
#[derive(Debug, Default)]
pub struct EngineBuilder {
    data_dir: Option<PathBuf>,
    model_types: Vec<Arc<dyn ModelType>>,
    loaders: Vec<Arc<dyn Loader>>,
    functions: Vec<Arc<ScalarUDF>>,
    memory_limit: Option<usize>,
    disk_limit: Option<u64>,
    cluster: Option<String>,
    roots: Option<Vec<PathBuf>>,
}

impl EngineBuilder {
    /// Where tables and models last, a directory or `s3://bucket/prefix`; without it they end with the engine.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Adds something that TRAIN MODEL can make.
    #[must_use]
    pub fn model_type(mut self, model_type: Arc<dyn ModelType>) -> Self {
        self.model_types.push(model_type);
        self
    }

    /// Adds a format of models that can be opened.
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

    /// Memory in bytes that queries and trainings may take; what can spills to disk, the rest is an error.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Disk in bytes for what does not fit in memory.
    #[must_use]
    pub fn disk_limit(mut self, bytes: u64) -> Self {
        self.disk_limit = Some(bytes);
        self
    }

    /// Leaves the work to executors, which find their scheduler at this address, `host:port`.
    #[must_use]
    pub fn cluster(mut self, address: impl Into<String>) -> Self {
        self.cluster = Some(address.into());
        self
    }

    /// Lets statements touch files below these only, each a directory or `s3://bucket/prefix`.
    #[must_use]
    pub fn roots(mut self, roots: impl Into<Vec<PathBuf>>) -> Self {
        self.roots = Some(roots.into());
        self
    }

    /// Opens the engine.
    ///
    /// # Errors
    /// If the data directory cannot be opened, or the scheduler's address is taken.
    pub fn build(self) -> Result<Engine> {
        let data = Arc::new(match &self.data_dir {
            Some(path) => DataDir::open(path)?,
            None => DataDir::temporary()?,
        });
        let memory = Memory::new(self.memory_limit);
        let inner = EngineInner {
            registry: Arc::new(ModelRegistry::new(Arc::clone(&data))),
            catalog: Arc::new(Catalog::new(Arc::clone(&data))),
            runs: Arc::new(RunLog::new(Arc::clone(&data))),
            rendezvous: Arc::default(),
            runtime: Arc::new(ModelRuntime::new(self.model_types, self.loaders)),
            runtime_env: runtime_env(&memory, self.disk_limit)?,
            memory,
            functions: self.functions,
            grants: Arc::new(Grants::new(Log::new(data.grants()))),
            files: match &self.roots {
                Some(roots) => FileAccess::below(roots, data.root())?,
                None => FileAccess::All,
            },
            cluster: match &self.cluster {
                Some(address) => Some(Arc::new(Cluster::start(address)?)),
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
    // A list of files that is kept would hide those that come later.
    let mut builder = RuntimeEnvBuilder::new()
        .with_object_store_registry(Arc::new(Stores::default()))
        .with_object_list_cache_limit(0)
        .with_memory_pool(memory.pool());
    if let Some(bytes) = disk {
        builder = builder.with_max_temp_directory_size(bytes);
    }
    builder.build_arc()
}

impl Engine {
    /// How an engine is made.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Where executors find the scheduler, if this engine has one.
    pub fn cluster_address(&self) -> Option<SocketAddr> {
        self.cluster().map(|cluster| cluster.address())
    }

    /// The slots of all executors that are there now; 0 without a cluster.
    pub async fn cluster_slots(&self) -> usize {
        match self.cluster() {
            Some(cluster) => cluster.slots_now().await,
            None => 0,
        }
    }

    /// Answers Prometheus at this address, `host:port`, and returns it; port 0 picks one.
    ///
    /// # Errors
    /// If there is no cluster, or the address is taken.
    pub fn serve_metrics(&self, address: &str) -> Result<SocketAddr> {
        let none = || {
            let message = "metrics are those of a cluster; start one with --cluster";
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

    /// Where the ranks of trainings run.
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

    /// In the background: starting must not wait for it, and it has a day's time.
    fn remove_orphans(&self) {
        let engine = self.clone();
        let clean = move || {
            // The files of a training come at its end, which may be more than a day after their directory.
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
                Ok(removed) => tracing::info!(removed, "removed files that nothing names"),
                Err(error) => tracing::warn!(%error, "files that nothing names cannot be removed"),
            });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread to remove files that nothing names");
        }
    }
}
