//! How a training is watched and stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How a training is watched and stopped.
#[derive(Clone, Default)]
pub struct Control {
    /// Set to stop at the next step.
    pub cancelled: Arc<AtomicBool>,
    /// Told of progress, by rank 0 only.
    pub progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
    /// Where a network's training is kept after epochs, and goes on from; all ranks have it, or none.
    pub checkpoints: Option<Arc<dyn Checkpoints>>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("cancelled", &self.cancelled)
            .finish_non_exhaustive()
    }
}

impl Control {
    pub(crate) fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    pub(crate) fn report(&self, progress: impl FnOnce() -> Progress) {
        if let Some(report) = &self.progress {
            report(progress());
        }
    }
}

/// Where a training is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Progress {
    /// Within an epoch.
    Step {
        /// The epoch, from 1.
        epoch: usize,
        /// Epochs at most.
        epochs: usize,
        /// Share of the epoch done.
        share: f64,
        /// Training rows a second since the start.
        rows_per_second: f64,
        /// Seconds to the last epoch, if none stops early.
        remaining_s: f64,
    },
    /// At the end of an epoch.
    Epoch(EpochRecord),
    /// Something that the user should know of the rows.
    Notice(String),
}

/// What is kept of an epoch, or of an iteration of a full-batch solver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1.
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

/// Where checkpoints are kept. Only rank 0 calls it.
pub trait Checkpoints: Send + Sync {
    /// The last one, if there is one that can be read.
    fn load(&self) -> Option<Vec<u8>>;

    /// Replaces the last one by another, as a whole.
    ///
    /// # Errors
    /// If it cannot be written.
    fn save(&self, content: &[u8]) -> Result<()>;
}
