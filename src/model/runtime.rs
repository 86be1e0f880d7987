//! [`ModelRuntime`]: runs models on the workers of each device, and caches loaded models within a byte budget.
//!
//! `order` changes of the cache that statements ask for; `pins` keeps models in the cache, and drops them from it;
//! `version_files` files of a version that are read without a model.

mod order;
mod pins;
mod version_files;

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use tokio::sync::{OnceCell, Semaphore, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use vatic_ml::artifact::{Files, Loader};
use vatic_ml::data::inputs::{Inputs, RowReport};
use vatic_ml::device::{DeviceName, cores};
use vatic_ml::formats::loaders;
use vatic_ml::model::arguments::Arguments;
use vatic_ml::model::compute::{ComputeType, LoadOptions};
use vatic_ml::model::network::ModelType;
use vatic_ml::model::{Model, Outputs, Wanted, forward_in_parts};
use vatic_ml::models::ModelTypes;
use vatic_ml::stop::Stop;
use vatic_ml::worker::{WorkerPool, catch};

pub(crate) use self::order::{CacheOrder, LoadOrder, ModelCopy, Pin, PinnedVersion};
use super::ResolvedModel;
use super::batch_memory::{BatchMemory, Statements};
use crate::error::{Result, SqlState, ml_err, sql_err};
use crate::memory::{Cache, Memory};
use crate::own_task::in_own_task;

/// Batches in flight for each core: one that is computed, and one that is prepared.
const BATCHES_PER_CORE: usize = 2;

/// The model cache and the device workers of a process. Plans reach it through the session's configuration.
#[derive(Debug)]
pub(crate) struct ModelRuntime {
    model_types: Arc<ModelTypes>,
    loaders: Vec<Arc<dyn Loader>>,
    entries: Mutex<HashMap<Key, Entry>>,
    /// Models are shared by statements, so their memory is that of the process.
    memory: Arc<dyn MemoryPool>,
    workers: Mutex<HashMap<DeviceName, Arc<DeviceWorkers>>>,
    batch_permits: Arc<Semaphore>,
    statements: Statements,
}

/// A model on a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    sha256: String,
    device: DeviceName,
    /// A type that needs a GPU; `None` for the type of the training.
    compute: Option<ComputeType>,
}

impl Key {
    fn new(model: &ResolvedModel, device: DeviceName, compute: Option<ComputeType>) -> Self {
        Self {
            sha256: model.sha256.clone(),
            device: model.device(device).resolved(),
            // Any other type must be that of the training, which `check_type` compares.
            compute: compute.filter(|compute| compute.needs_gpu()),
        }
    }
}

#[derive(Debug)]
struct Entry {
    name: String,
    model: Arc<OnceCell<Arc<LoadedModel>>>,
    last_used: u64,
    hits: u64,
    /// The model stays in the cache as long as there is one.
    pins: BTreeSet<Pin>,
}

/// A model with the memory that is reserved for it. A statement may use the model longer than it is in the cache.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    model: Arc<dyn Model>,
    held: MemoryReservation,
    /// Cancels its token when the model is freed: fields are dropped in this order.
    freed: DropGuard,
    /// The model whose weights this one uses, if it serves one call.
    _shared: Option<Arc<LoadedModel>>,
}

impl LoadedModel {
    /// The model for a call: a model of its own that shares the weights, or this model.
    pub(crate) fn for_call(self: &Arc<Self>, wanted: &Wanted) -> Result<Arc<Self>> {
        let model = self.model.for_call(wanted).map_err(ml_err)?;
        Ok(match model {
            None => Arc::clone(self),
            Some(model) => self.sharing(model),
        })
    }

    /// A model that shares the weights of this one, which stays in use.
    fn sharing(self: &Arc<Self>, model: Arc<dyn Model>) -> Arc<Self> {
        Arc::new(Self {
            model,
            held: self.held.new_empty(),
            freed: CancellationToken::new().drop_guard(),
            _shared: Some(Arc::clone(self)),
        })
    }
}

impl LoadedModel {
    /// The model for code that shares it, and lives no longer than this.
    pub(crate) fn shared(&self) -> Arc<dyn Model> {
        Arc::clone(&self.model)
    }
}

impl Deref for LoadedModel {
    type Target = dyn Model;

    fn deref(&self) -> &Self::Target {
        self.model.as_ref()
    }
}

/// The worker threads of a device.
#[derive(Debug)]
struct DeviceWorkers {
    pool: WorkerPool,
    permits: Semaphore,
}

/// A model in the cache, for `ml.model_cache`.
#[derive(Debug, Clone)]
pub(crate) struct CachedModel {
    pub(crate) name: String,
    pub(crate) sha256: String,
    pub(crate) device: DeviceName,
    pub(crate) compute: ComputeType,
    pub(crate) bytes: usize,
    pub(crate) hits: u64,
    pub(crate) is_in_use: bool,
    pub(crate) is_pinned: bool,
}

impl ModelRuntime {
    /// The runtime of a process with this memory, with the built-in model types and loaders, and with these. `onnxruntime` is the path
    /// of the library of this name. Models count in the memory, and models that nobody uses make room for operators.
    pub(crate) fn new(
        model_types: Vec<Arc<dyn ModelType>>,
        own_loaders: Vec<Arc<dyn Loader>>,
        onnxruntime: Option<PathBuf>,
        memory: &Memory,
    ) -> Arc<Self> {
        let model_types = Arc::new(ModelTypes::with(model_types));
        let mut all = loaders(Arc::clone(&model_types), onnxruntime);
        all.extend(own_loaders);
        let runtime = Arc::new(Self {
            model_types,
            loaders: all,
            entries: Mutex::default(),
            memory: memory.pool(),
            workers: Mutex::default(),
            batch_permits: Arc::new(Semaphore::new(cores() * BATCHES_PER_CORE)),
            statements: Statements::default(),
        });
        let cache: Arc<dyn Cache> = Arc::clone(&runtime) as _;
        memory.take_from(Arc::downgrade(&cache));
        runtime
    }

    /// The runtime that a task runs models on.
    pub(crate) fn of(context: &TaskContext) -> Result<Arc<Self>> {
        let runtime = context.session_config().get_extension::<Self>();
        runtime.ok_or_else(|| sql_err(SqlState::Internal, "this process cannot run models"))
    }

    /// The model types that can be trained.
    pub(crate) fn model_types(&self) -> &ModelTypes {
        &self.model_types
    }

    /// The loaders of model formats.
    pub(crate) fn loaders(&self) -> &[Arc<dyn Loader>] {
        &self.loaders
    }

    /// The permits for batches in flight that all streams of this process share. None for a GPU: the two batches that a stream
    /// has in flight without a permit keep it busy.
    pub(crate) fn batch_permits(&self, device: DeviceName) -> Arc<Semaphore> {
        match device.is_gpu() {
            true => Arc::new(Semaphore::new(0)),
            false => Arc::clone(&self.batch_permits),
        }
    }

    /// The memory of a stream of batches: of an operator of this name, in the pool of its statement.
    pub(crate) fn batch_memory(&self, name: &str, pool: &Arc<dyn MemoryPool>) -> BatchMemory {
        BatchMemory::new(name, pool, &self.statements)
    }

    /// The workers of a device, which start with the first job.
    fn workers(&self, device: DeviceName) -> Result<Arc<DeviceWorkers>> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = workers.get(&device) {
            return Ok(Arc::clone(known));
        }
        let pool = WorkerPool::start(&device.to_string(), device.workers()).map_err(ml_err)?;
        let permits = Semaphore::new(pool.capacity());
        let started = Arc::new(DeviceWorkers { pool, permits });
        workers.insert(device, Arc::clone(&started));
        Ok(started)
    }

    /// Runs a computation on a worker of a device, never on the async runtime's threads. A panic becomes an error. The
    /// computation is asked to stop if nobody awaits it any more.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        device: DeviceName,
        job: impl FnOnce() -> vatic_ml::Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> {
        self.run_noted(device, (), job)
    }

    /// Runs a computation for a batch of a stream, for whose memory other batches of the statement may wait.
    pub(crate) async fn run_batch<T: Send + 'static>(
        &self,
        device: DeviceName,
        memory: &BatchMemory,
        job: impl FnOnce() -> vatic_ml::Result<T> + Send + 'static,
    ) -> Result<T> {
        // Not before somebody asks for the result: until then, nobody computes it.
        let note = memory.at_work();
        self.run_noted(device, note, job).await
    }

    /// Runs a computation; the worker drops `note` afterwards.
    async fn run_noted<T: Send + 'static, N: Send + 'static>(
        &self,
        device: DeviceName,
        note: N,
        job: impl FnOnce() -> vatic_ml::Result<T> + Send + 'static,
    ) -> Result<T> {
        let closed = || sql_err(SqlState::Internal, "the model workers have ended");
        let workers = self.workers(device.resolved())?;
        // Other computations wait for the permit.
        in_own_task(async move {
            // The permits keep `execute` from blocking a thread of the async runtime.
            let _permit = workers.permits.acquire().await.map_err(|_| closed())?;
            let (sender, receiver) = oneshot::channel();
            let stop = Stop::default();
            let _stop_on_drop = stop.on_drop();
            workers
                .pool
                .execute(move || {
                    let _note = note;
                    // The result of a cancelled statement is not needed.
                    if !sender.is_closed() {
                        let _ = sender.send(stop.watch(|| catch(job)));
                    }
                })
                .map_err(ml_err)?;
            receiver.await.map_err(|_| closed())?.map_err(ml_err)
        })
        .await
    }

    /// Encodes a batch on the host, runs the model on its device, and makes the outputs on the host. For a GPU, each of these
    /// is a job: while one batch runs, the next is encoded, and the outputs of the last are made. For the processor, they are
    /// one job: the next job of a batch starts only when the task that reads the batches has time for it. `memory` is that of
    /// the stream of the batch.
    pub(crate) async fn infer(
        &self,
        memory: &BatchMemory,
        model: Arc<LoadedModel>,
        device: DeviceName,
        batch: RecordBatch,
        wanted: Wanted,
    ) -> Result<Outputs> {
        let device = device.resolved();
        let encoder = Arc::clone(&model);
        let encode = move || -> vatic_ml::Result<(Inputs, RowReport)> {
            let mut inputs = encoder.encode(&batch)?;
            let report = std::mem::take(&mut inputs.report);
            // Without memory on the device, the model takes the rows from the host, a part at a time.
            match inputs.upload(device) {
                Err(vatic_ml::Error::DeviceMemory(_)) => Ok((inputs, report)),
                uploaded => Ok((uploaded?, report)),
            }
        };
        if !device.is_gpu() {
            let run = move || {
                let (inputs, report) = encode()?;
                let computed = forward_in_parts(&**model, &inputs)?;
                model.outputs(&computed, report, &wanted)
            };
            return self.run_batch(device, memory, run).await;
        }
        let (inputs, report) = self.run_batch(DeviceName::Cpu, memory, encode).await?;
        let forward = Arc::clone(&model);
        let forward = move || forward_in_parts(&**forward, &inputs);
        let computed = self.run_batch(device, memory, forward).await?;
        let outputs = move || model.outputs(&computed, report, &wanted);
        self.run_batch(DeviceName::Cpu, memory, outputs).await
    }

    /// A reservation for a model, in the memory of all models.
    pub(crate) fn reservation(&self) -> MemoryReservation {
        MemoryConsumer::new("models").register(&self.memory)
    }

    /// The model on a device and in a type, or in that of its training if `None`, from the cache or from its files; and
    /// whether it was in the cache.
    pub(crate) async fn load(
        self: &Arc<Self>,
        model: &ResolvedModel,
        device: DeviceName,
        compute: Option<ComputeType>,
        budget_bytes: usize,
    ) -> Result<(Arc<LoadedModel>, bool)> {
        let key = Key::new(model, device, compute);
        check_device(compute, key.device)?;
        let cell = self.cell(&key, model.label());
        let is_hit = cell.initialized();
        match self.filled(&cell, model, &key).await {
            Ok(loaded) => {
                self.evict(budget_bytes, &key);
                check_type(compute, model, &loaded)?;
                let loaded = match &model.arguments {
                    None => loaded,
                    Some(arguments) => self.with_arguments(loaded, Arc::clone(arguments)).await?,
                };
                Ok((loaded, is_hit))
            }
            Err(error) => {
                self.remove_failed(&key, &cell);
                Err(error)
            }
        }
    }

    /// A loaded model for calls with these arguments.
    async fn with_arguments(
        &self,
        loaded: Arc<LoadedModel>,
        arguments: Arc<Arguments>,
    ) -> Result<Arc<LoadedModel>> {
        let model = Arc::clone(&loaded.model);
        let bind = move || model.with_arguments(&arguments);
        let model = self.run(DeviceName::Cpu, bind).await?;
        Ok(loaded.sharing(model))
    }

    /// The model of a cell, which is read from its files if there is none yet.
    async fn filled(
        self: &Arc<Self>,
        cell: &Arc<OnceCell<Arc<LoadedModel>>>,
        model: &ResolvedModel,
        key: &Key,
    ) -> Result<Arc<LoadedModel>> {
        if let Some(loaded) = cell.get() {
            return Ok(Arc::clone(loaded));
        }
        let (runtime, cell) = (Arc::clone(self), Arc::clone(cell));
        let (model, key) = (model.clone(), key.clone());
        // Other streams and statements wait for the cell.
        in_own_task(async move {
            let loaded = cell.get_or_try_init(|| runtime.read(&model, &key)).await;
            loaded.map(Arc::clone)
        })
        .await
    }

    async fn read(self: &Arc<Self>, model: &ResolvedModel, key: &Key) -> Result<Arc<LoadedModel>> {
        let (device, compute) = (key.device, key.compute);
        let loader = self.loader_of(model)?;
        let (directory, files) = (model.directory.clone(), model.manifest.files.clone());
        let label = model.label();
        let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        let fetch = move || Ok(directory.fetch(names.iter().map(String::as_str))?);
        let file_bytes = files.iter().map(|file| file.bytes as usize).sum();
        let loaded = async {
            let held = self.reservation();
            held.try_grow(file_bytes)?;
            // The only worker of a GPU does not wait for files.
            let local = self.run(DeviceName::Cpu, fetch).await?;
            let load = move || {
                let files = Files::new(local.path(), files.clone());
                let device = device.open()?;
                loader.load(&files, &LoadOptions { device, compute })
            };
            let model: Arc<dyn Model> = self.run(device, load).await?;
            held.try_resize(match device.is_gpu() {
                true => 0,
                false => model.bytes(),
            })?;
            Ok(Arc::new(LoadedModel {
                model,
                held,
                freed: CancellationToken::new().drop_guard(),
                _shared: None,
            }))
        };
        loaded.await.map_err(|error| {
            let mut found = crate::error::report(&error);
            found.message = format!("model \"{label}\" cannot be loaded: {}", found.message);
            found.into()
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, key: &Key, name: String) -> Arc<OnceCell<Arc<LoadedModel>>> {
        let mut entries = self.lock();
        let now = entries
            .values()
            .map(|entry| entry.last_used)
            .max()
            .unwrap_or(0)
            + 1;
        let entry = entries
            .entry(key.clone())
            .or_insert_with(|| Entry::new(name, OnceCell::new()));
        entry.last_used = now;
        entry.hits += u64::from(entry.model.initialized());
        Arc::clone(&entry.model)
    }

    /// Removes the entry of a load that has failed. Meanwhile another statement may have loaded the model with the same cell, or
    /// with a new one after UNLOAD MODEL.
    fn remove_failed(&self, key: &Key, cell: &Arc<OnceCell<Arc<LoadedModel>>>) {
        let mut entries = self.lock();
        let has_failed =
            |entry: &Entry| Arc::ptr_eq(&entry.model, cell) && !entry.model.initialized();
        if entries.get(key).is_some_and(has_failed) {
            entries.remove(key);
        }
    }

    /// Evicts the least recently used models until the rest fits, but no pinned model. A statement that still uses a model
    /// keeps it alive.
    fn evict(&self, budget_bytes: usize, keep: &Key) {
        let mut entries = self.lock();
        let mut total: usize = entries.values().map(Entry::bytes).sum();
        while total > budget_bytes {
            let Some(evicted) = evict_oldest(&mut entries, |key, _| key != keep) else {
                return;
            };
            total -= evicted.bytes();
        }
    }

    /// The cached models, by name and type.
    pub(crate) fn cached(&self) -> Vec<CachedModel> {
        let entries = self.lock();
        let mut cached: Vec<CachedModel> = entries
            .iter()
            .filter_map(|(key, entry)| {
                let model = entry.model.get()?;
                Some(CachedModel {
                    name: entry.name.clone(),
                    sha256: key.sha256.clone(),
                    device: key.device,
                    compute: model.compute_type(),
                    bytes: model.bytes(),
                    hits: entry.hits,
                    is_in_use: Arc::strong_count(model) > 1,
                    is_pinned: entry.is_pinned(),
                })
            })
            .collect();
        cached.sort_by_cached_key(|model| (model.name.clone(), model.compute.name()));
        cached
    }
}

/// Refuses a type that needs a GPU for a model on the processor.
pub(crate) fn check_device(compute: Option<ComputeType>, device: DeviceName) -> Result<()> {
    match compute {
        Some(compute) if compute.needs_gpu() && device == DeviceName::Cpu => {
            let message = format!(
                "dtype \"{compute}\" needs a GPU; leave out dtype, or use device => 'cuda'"
            );
            Err(sql_err(SqlState::Unsupported, message))
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses a loaded model that computes in another type than the wanted one.
fn check_type(
    compute: Option<ComputeType>,
    model: &ResolvedModel,
    loaded: &LoadedModel,
) -> Result<()> {
    let own = loaded.compute_type();
    match compute {
        Some(other) if other != own => {
            let message = format!(
                "models of type {} compute in {own}, not {other}; leave out dtype",
                model.manifest.model_type()
            );
            Err(sql_err(SqlState::Unsupported, message))
        }
        Some(_) | None => Ok(()),
    }
}

impl Entry {
    fn new(name: String, model: OnceCell<Arc<LoadedModel>>) -> Self {
        Self {
            name,
            model: Arc::new(model),
            last_used: 0,
            hits: 0,
            pins: BTreeSet::new(),
        }
    }

    fn bytes(&self) -> usize {
        self.model.get().map_or(0, |model| model.bytes())
    }

    fn is_unused(&self) -> bool {
        let model = self.model.get();
        model.is_some_and(|model| Arc::strong_count(model) == 1)
    }

    fn is_pinned(&self) -> bool {
        !self.pins.is_empty()
    }
}

impl Cache for ModelRuntime {
    fn shrink(&self) -> bool {
        // A model on a GPU holds no memory of the host.
        let may_go = |key: &Key, entry: &Entry| !key.device.is_gpu() && entry.is_unused();
        evict_oldest(&mut self.lock(), may_go).is_some()
    }
}

/// Removes the least recently used model of those that are loaded, are not pinned and `may_go`.
fn evict_oldest(
    entries: &mut HashMap<Key, Entry>,
    may_go: impl Fn(&Key, &Entry) -> bool,
) -> Option<Entry> {
    let candidates = entries.iter().filter(|(key, entry)| {
        entry.model.initialized() && !entry.is_pinned() && may_go(key, entry)
    });
    let oldest = candidates.min_by_key(|(_, entry)| entry.last_used);
    let oldest = oldest.map(|(key, _)| key.clone())?;
    entries.remove(&oldest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use vatic_ml::stop;

    use super::*;
    use crate::model::example_model;

    #[tokio::test]
    async fn a_computation_that_nobody_awaits_is_asked_to_stop() {
        let runtime = ModelRuntime::new(vec![], vec![], None, &Memory::new(None));
        let (begin, began) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let job = move || {
            begin.send(()).unwrap();
            while stop::check().is_ok() {
                std::thread::yield_now();
            }
            end.send(()).unwrap();
            Ok(())
        };
        let mut run = Box::pin(runtime.run(DeviceName::Cpu, job));
        tokio::select! {
            _ = &mut run => panic!("the computation does not end by itself"),
            began = began => began.unwrap(),
        }
        drop(run);
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
        ended.unwrap().unwrap();
    }

    #[tokio::test]
    async fn computations_that_nobody_looks_at_keep_no_worker_from_others() {
        let runtime = ModelRuntime::new(vec![], vec![], None, &Memory::new(None));
        // An operator above another one begins them, and then waits for rows of the other.
        let begun: Vec<_> = (0..1_000)
            .map(|_| {
                let mut run = Box::pin(runtime.run(DeviceName::Cpu, || Ok(())));
                assert!((&mut run).now_or_never().is_none());
                run
            })
            .collect();
        let other = runtime.run(DeviceName::Cpu, || Ok(()));
        let other = tokio::time::timeout(Duration::from_secs(60), other).await;
        other.unwrap().unwrap();
        drop(begun);
    }

    #[tokio::test]
    async fn a_load_that_nobody_looks_at_keeps_no_other_waiting() {
        let runtime = ModelRuntime::new(vec![], vec![], None, &Memory::new(None));
        // Without files, so that the first load ends, and the other one tries again.
        let model = example_model(&[]);
        let load = || runtime.load(&model, DeviceName::Cpu, None, usize::MAX);
        let mut begun = Box::pin(load());
        assert!((&mut begun).now_or_never().is_none());
        let other = tokio::time::timeout(Duration::from_secs(60), load()).await;
        let error = other.unwrap().unwrap_err().to_string();
        assert!(error.contains("cannot be loaded"), "{error}");
        assert!(runtime.cached().is_empty());
        drop(begun);
    }
}
