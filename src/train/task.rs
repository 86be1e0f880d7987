//! What ranks know of their training, and what they say of it.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use vatic_ml::artifact::ModelFile;
use vatic_ml::data::signature::Signature;
use vatic_ml::model::Batching;
use vatic_ml::train::fit::TrainSpec;

use crate::model::RunSummary;
use crate::storage::Place;

/// What rank 0 says of a training that succeeded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RankResult {
    pub(crate) run: RunSummary,
    pub(crate) signature: Signature,
    pub(crate) batching: Batching,
    pub(crate) files: Vec<ModelFile>,
}

/// What all ranks of a training know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TrainTask {
    /// Names this attempt of a training, and no other.
    pub(crate) run_id: String,
    pub(crate) model: String,
    pub(crate) spec: TrainSpec,
    pub(crate) workers: usize,
    /// Where rank 0 writes the files. It is of this attempt only, so what a late rank still writes is named by nobody.
    pub(crate) target: Place,
    /// Where the ranks keep what another attempt goes on from.
    pub(crate) checkpoint: Place,
    /// Where the ranks meet on the engine's host, if not in its process.
    pub(crate) port: Option<u16>,
}

/// A directory of files that is deleted unless it is kept.
#[derive(Debug)]
pub(crate) struct BlobGuard {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) is_kept: AtomicBool,
}

impl Drop for BlobGuard {
    fn drop(&mut self) {
        if !self.is_kept.load(Ordering::Relaxed) {
            // What cannot be removed now is an orphan, and removed a day later.
            let _ = self.place.remove_directory();
        }
    }
}
