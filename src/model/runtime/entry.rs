//! [`Entry`]: a place of the model cache, and its [`Key`].

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::OnceCell;
use vatic_ml::device::DeviceName;
use vatic_ml::model::compute::ComputeType;

use super::loaded::LoadedModel;
use super::order::Pin;
use crate::model::ResolvedModel;

/// A model on a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) sha256: String,
    pub(super) device: DeviceName,
    /// A type that needs a GPU; `None` for the type of the training.
    pub(super) compute: Option<ComputeType>,
}

impl Key {
    pub(super) fn new(
        model: &ResolvedModel,
        device: DeviceName,
        compute: Option<ComputeType>,
    ) -> Self {
        Self {
            sha256: model.sha256.clone(),
            device: model.device(device).resolved(),
            // Any other type must be that of the training, which `check_type` compares.
            compute: compute.filter(|compute| compute.needs_gpu()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) model: Arc<OnceCell<Arc<LoadedModel>>>,
    pub(super) last_used: u64,
    pub(super) hits: u64,
    /// The model stays in the cache as long as there is one.
    pub(super) pins: BTreeSet<Pin>,
}

impl Entry {
    pub(super) fn new(name: String, model: OnceCell<Arc<LoadedModel>>) -> Self {
        Self {
            name,
            model: Arc::new(model),
            last_used: 0,
            hits: 0,
            pins: BTreeSet::new(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.model.get().map_or(0, |model| model.bytes())
    }

    pub(super) fn is_unused(&self) -> bool {
        let model = self.model.get();
        model.is_some_and(|model| Arc::strong_count(model) == 1)
    }

    pub(super) fn is_pinned(&self) -> bool {
        !self.pins.is_empty()
    }
}
