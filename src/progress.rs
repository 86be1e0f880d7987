//! [`ProgressEvent`]: the progress of a statement, for its listener.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vatic_ml::train::control::Progress;

/// An event of a training, or of a query.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ProgressEvent {
    /// The training's query runs.
    Reading {
        /// The model.
        model: String,
        /// The number of rows so far.
        rows: u64,
    },
    /// The ranks of a training compute.
    Training {
        /// The model.
        model: String,
        /// The progress of the ranks.
        progress: Progress,
    },
    /// A query has something to say about a model or an index that it used.
    Notice {
        /// The model or the index.
        about: String,
        /// What the query says of it.
        text: String,
    },
    /// The statement waits.
    Waiting {
        /// What it waits for.
        what: String,
    },
    /// A query runs on a cluster.
    Stages {
        /// The number of all stages.
        stages: usize,
        /// The number of finished stages.
        stages_done: usize,
        /// The number of tasks of the running stages.
        tasks: usize,
        /// The number of finished tasks of the running stages.
        tasks_done: usize,
    },
    /// The last event.
    Done,
}

/// Called with each event, from any thread; must not block.
pub type ProgressListener = Arc<dyn Fn(ProgressEvent) + Send + Sync>;
