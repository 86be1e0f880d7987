//! What a statement tells whoever watches it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vatic_ml::train::control::Progress;

/// An event of a training, or of a query on a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ProgressEvent {
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
    /// The statement waits, for this.
    Waiting {
        /// What it waits for.
        what: String,
    },
    /// A query runs on a cluster.
    Stages {
        /// Stages in all.
        stages: usize,
        /// Stages that are done.
        stages_done: usize,
        /// Partitions of the stages that run.
        tasks: usize,
        /// Of them done.
        tasks_done: usize,
    },
    /// Nothing more will come.
    Done,
}

/// Called with each event, from any thread; must not block.
pub type ProgressListener = Arc<dyn Fn(ProgressEvent) + Send + Sync>;
