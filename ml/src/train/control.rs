//! Cancellation, progress, checkpoints and memory of a training.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::stop::Stop;

/// Cancellation, progress, checkpoints and memory of a training.
#[derive(Clone, Default)]
pub struct Control {
    /// Asks the training to end, also within a step.
    pub stop: Stop,
    /// Called with progress, by rank 0 only.
    pub progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
    /// The store of a network's checkpoints, from which training resumes; all ranks have a store, or none has.
    pub checkpoints: Option<Arc<dyn Checkpoints>>,
    /// The account of the memory that this rank uses; without one, memory has no limit.
    pub memory: Option<Arc<dyn Memory>>,
    /// Threads that may help this rank to prepare its rows; 0 means none. The result does not depend on it.
    pub threads: usize,
    /// Time that the training took before [`fit`](crate::train::fit::fit), which counts towards `max_runtime_s`.
    pub spent: Duration,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("stop", &self.stop)
            .finish_non_exhaustive()
    }
}

impl Control {
    /// Reserves memory for `what`, for as long as the result lives.
    pub(crate) fn reserve(&self, bytes: usize, what: &str) -> Result<Option<ReservedMemory>> {
        let memory = self.memory.as_ref();
        memory.map(|memory| memory.reserve(bytes, what)).transpose()
    }

    pub(crate) fn report(&self, progress: impl FnOnce() -> Progress) {
        if let Some(report) = &self.progress {
            report(progress());
        }
    }
}

/// The progress of a training.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Progress {
    /// Within an epoch.
    Step {
        /// The epoch, from 1.
        epoch: usize,
        /// The maximum number of epochs.
        epochs: usize,
        /// Share of the epoch done.
        share: f64,
        /// Training rows per second since the start.
        rows_per_second: f64,
        /// Seconds to the end of the last epoch, without early stopping.
        remaining_s: f64,
        /// Whether it is the second training, on all rows.
        #[serde(default)]
        is_refit: bool,
    },
    /// At the end of an epoch.
    Epoch(EpochRecord),
    /// A notice for the user about the rows.
    Notice(String),
}

/// The record of an epoch, or of an iteration of a full-batch solver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The number of the epoch, from 1.
    pub epoch: usize,
    /// Mean loss of the training rows.
    pub train_loss: f64,
    /// Mean loss of the evaluation rows, if there are any.
    pub eval_loss: Option<f64>,
    /// The learning rate of the last step; `None` for a solver without one.
    pub learn_rate: Option<f64>,
    /// Wall time of the epoch.
    pub duration_ms: u64,
}

/// An account of memory. A training reserves what it is about to use, before it begins.
pub trait Memory: Send + Sync {
    /// Reserves this many bytes; an error names `what` they are for.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory) if the account has not as many bytes left.
    fn reserve(&self, bytes: usize, what: &str) -> Result<ReservedMemory>;
}

/// Reserved memory, given back when dropped.
pub struct ReservedMemory(pub Box<dyn std::any::Any + Send + Sync>);

impl std::fmt::Debug for ReservedMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReservedMemory")
    }
}

/// A store of checkpoints. Only rank 0 calls it.
pub trait Checkpoints: Send + Sync {
    /// The last checkpoint, if there is a readable one.
    fn load(&self) -> Option<Vec<u8>>;

    /// Replaces the last checkpoint atomically.
    ///
    /// # Errors
    /// If the checkpoint cannot be written.
    fn save(&self, content: &[u8]) -> Result<()>;
}
