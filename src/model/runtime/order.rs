//! [`CacheOrder`]: what LOAD MODEL and UNLOAD MODEL ask of the model cache of a process, and what the cache answers.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use vatic_ml::device::DeviceName;
use vatic_ml::model::compute::ComputeType;

use crate::model::ModelAddress;

/// An order to change the model cache of a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum CacheOrder {
    /// Loads a model and pins it.
    Load(Box<LoadOrder>),
    /// Drops these versions on all devices. A version is named by its hash.
    Unload { sha256s: HashSet<String> },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LoadOrder {
    pub(crate) model: ModelAddress,
    pub(crate) device: DeviceName,
    pub(crate) compute: Option<ComputeType>,
    pub(crate) pin: Pin,
    /// The budget of the cache.
    pub(crate) cache_bytes: usize,
}

/// What keeps a model in the cache.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Pin {
    /// The data directory: engines that share executors may have models of the same name.
    pub(crate) data: String,
    /// The reference to the model.
    pub(crate) reference: String,
}

/// A version that is pinned for a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct PinnedVersion {
    pub(crate) data: String,
    pub(crate) sha256: String,
}

/// A copy of a model that was loaded, or dropped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ModelCopy {
    pub(crate) device: DeviceName,
    pub(crate) bytes: usize,
    /// Whether the copy was in the cache before.
    pub(crate) was_loaded: bool,
}
