//! What a training tells whoever watches it.

use std::sync::Arc;

use vatic_ml::fit::Progress;

/// An event of a training.
#[derive(Debug, Clone)]
pub enum TrainEvent {
    /// The query runs; so many rows have come.
    Reading {
        /// The model.
        model: String,
        /// Rows so far.
        rows: u64,
    },
    /// The ranks compute.
    Training {
        /// The model.
        model: String,
        /// Where they are.
        progress: Progress,
    },
    /// Nothing more will come.
    Done,
}

/// Called with each event, from any thread; must not block.
pub type ProgressListener = Arc<dyn Fn(TrainEvent) + Send + Sync>;
