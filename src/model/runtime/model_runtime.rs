//! [`ModelRuntime`]: what a process has to run models.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use tokio::sync::Semaphore;
use vatic_ml::artifact::Loader;
use vatic_ml::device::{DeviceName, cores};
use vatic_ml::formats::loaders;
use vatic_ml::model::network::ModelType;
use vatic_ml::models::ModelTypes;

use super::entry::{Entry, Key};
use super::workers::Workers;
use crate::error::{Result, SqlState, sql_err};
use crate::memory::{Cache, Memory};
use crate::model::batch_memory::{BatchMemory, Statements};

/// Batches in flight for each core: one that is computed, and one that is prepared.
const BATCHES_PER_CORE: usize = 2;

/// The model cache and the device workers of a process. Plans reach it through the session's configuration.
#[derive(Debug)]
pub(crate) struct ModelRuntime {
    model_types: Arc<ModelTypes>,
    pub(super) loaders: Vec<Arc<dyn Loader>>,
    pub(super) entries: Mutex<HashMap<Key, Entry>>,
    /// Models are shared by statements, so their memory is that of the process.
    pub(super) memory: Arc<dyn MemoryPool>,
    pub(super) workers: Workers,
    batch_permits: Arc<Semaphore>,
    statements: Statements,
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
            workers: Workers::default(),
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

    /// A reservation for a model, in the memory of all models.
    pub(crate) fn reservation(&self) -> MemoryReservation {
        MemoryConsumer::new("models").register(&self.memory)
    }
}
