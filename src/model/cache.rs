//! The loaded models of this process: a byte budget, one loader a model, and the workers that run them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OnceCell, Semaphore, oneshot};
use vatic_ml::artifact;
use vatic_ml::model::{Model, ModelType};
use vatic_ml::models::MODEL_TYPES;
use vatic_ml::worker::WorkerPool;

use super::ResolvedModel;
use crate::error::{Result, SqlState, ml_err, sql_err};

/// What a process needs to run models. Plans reach it through the session's configuration.
#[derive(Debug)]
pub(crate) struct ModelRuntime {
    model_types: Vec<Arc<dyn ModelType>>,
    entries: Mutex<HashMap<String, Entry>>,
    pool: WorkerPool,
    permits: Semaphore,
}

#[derive(Debug)]
struct Entry {
    name: String,
    model: Arc<OnceCell<Arc<Model>>>,
    last_used: u64,
    hits: u64,
}

/// A model in the cache, for `ml.model_cache`.
#[derive(Debug, Clone)]
pub(crate) struct CachedModel {
    pub(crate) name: String,
    pub(crate) sha256: String,
    pub(crate) bytes: usize,
    pub(crate) hits: u64,
    pub(crate) is_in_use: bool,
}

impl ModelRuntime {
    /// A runtime that knows the built-in model types and these.
    pub(crate) fn new(model_types: Vec<Arc<dyn ModelType>>) -> Result<Self> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = WorkerPool::start(workers).map_err(ml_err)?;
        let permits = Semaphore::new(pool.capacity());
        Ok(Self {
            model_types,
            entries: Mutex::default(),
            pool,
            permits,
        })
    }

    /// The model type of this name.
    pub(crate) fn model_type(&self, name: &str) -> Option<&dyn ModelType> {
        let own = self.model_types.iter().map(AsRef::as_ref);
        own.chain(MODEL_TYPES.iter().copied())
            .find(|model_type| model_type.name() == name)
    }

    /// The names of all model types.
    pub(crate) fn model_type_names(&self) -> Vec<&str> {
        let own = self.model_types.iter().map(AsRef::as_ref);
        MODEL_TYPES
            .iter()
            .copied()
            .chain(own)
            .map(ModelType::name)
            .collect()
    }

    /// Runs a computation on a worker, never on the runtime's threads. A panic in it becomes an error.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> vatic_ml::Result<T> + Send + 'static,
    ) -> Result<T> {
        let closed = || sql_err(SqlState::Internal, "the model workers have ended");
        // The permits keep `execute` from blocking a thread of the runtime.
        let _permit = self.permits.acquire().await.map_err(|_| closed())?;
        let (sender, receiver) = oneshot::channel();
        self.pool
            .execute(move || {
                // Nobody waits for the result of a statement that was cancelled.
                if !sender.is_closed() {
                    let _ = sender.send(vatic_ml::worker::catch(job));
                }
            })
            .map_err(ml_err)?;
        receiver.await.map_err(|_| closed())?.map_err(ml_err)
    }

    /// The loaded model, from the cache or from its files. Says whether it was in the cache.
    pub(crate) async fn load(
        self: &Arc<Self>,
        model: &ResolvedModel,
        budget_bytes: usize,
    ) -> Result<(Arc<Model>, bool)> {
        let cell = self.cell(model);
        let is_hit = cell.initialized();
        let loaded = cell.get_or_try_init(|| self.read(model)).await;
        match loaded {
            Ok(loaded) => {
                let loaded = Arc::clone(loaded);
                self.evict(budget_bytes, &model.sha256);
                Ok((loaded, is_hit))
            }
            Err(error) => {
                self.lock().remove(&model.sha256);
                Err(error)
            }
        }
    }

    async fn read(self: &Arc<Self>, model: &ResolvedModel) -> Result<Arc<Model>> {
        let runtime = Arc::clone(self);
        let (directory, files) = (model.directory.clone(), model.manifest.files.clone());
        let label = model.label();
        let read = move || {
            let names = files.iter().map(|file| file.name.as_str());
            let local = directory.fetch(names)?;
            artifact::read(local.path(), &files, |name| runtime.model_type(name)).map(Arc::new)
        };
        self.run(read).await.map_err(|error| {
            let mut found = crate::error::report(&error);
            found.message = format!("model \"{label}\" cannot be loaded: {}", found.message);
            found.into()
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, model: &ResolvedModel) -> Arc<OnceCell<Arc<Model>>> {
        let mut entries = self.lock();
        let now = entries
            .values()
            .map(|entry| entry.last_used)
            .max()
            .unwrap_or(0)
            + 1;
        let entry = entries
            .entry(model.sha256.clone())
            .or_insert_with(|| Entry {
                name: model.label(),
                model: Arc::default(),
                last_used: 0,
                hits: 0,
            });
        entry.last_used = now;
        entry.hits += u64::from(entry.model.initialized());
        Arc::clone(&entry.model)
    }

    /// Forgets the models that were not used for longest, until the rest fits. A statement that still uses one keeps it.
    fn evict(&self, budget_bytes: usize, keep: &str) {
        let mut entries = self.lock();
        let bytes = |entry: &Entry| entry.model.get().map_or(0, |model| model.bytes());
        let mut total: usize = entries.values().map(bytes).sum();
        while total > budget_bytes {
            let candidates = entries
                .iter()
                .filter(|(sha256, entry)| *sha256 != keep && entry.model.initialized());
            let Some(oldest) = candidates
                .min_by_key(|(_, entry)| entry.last_used)
                .map(|(sha256, _)| sha256.clone())
            else {
                return;
            };
            total -= entries.remove(&oldest).as_ref().map_or(0, bytes);
        }
    }

    /// What is loaded, by name.
    pub(crate) fn cached(&self) -> Vec<CachedModel> {
        let entries = self.lock();
        let mut cached: Vec<CachedModel> = entries
            .iter()
            .filter_map(|(sha256, entry)| {
                let model = entry.model.get()?;
                Some(CachedModel {
                    name: entry.name.clone(),
                    sha256: sha256.clone(),
                    bytes: model.bytes(),
                    hits: entry.hits,
                    is_in_use: Arc::strong_count(model) > 1,
                })
            })
            .collect();
        cached.sort_by(|left, right| left.name.cmp(&right.name));
        cached
    }
}
