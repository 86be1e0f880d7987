//! The cache of loaded models: what is in it, and what leaves it for lack of room.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use tokio::sync::OnceCell;
use vatic_ml::device::DeviceName;
use vatic_ml::model::compute::ComputeType;

use super::entry::{Entry, Key};
use super::loaded::LoadedModel;
use super::model_runtime::ModelRuntime;
use crate::memory::Cache;

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
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cell(&self, key: &Key, name: String) -> Arc<OnceCell<Arc<LoadedModel>>> {
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
    pub(super) fn remove_failed(&self, key: &Key, cell: &Arc<OnceCell<Arc<LoadedModel>>>) {
        let mut entries = self.lock();
        let has_failed =
            |entry: &Entry| Arc::ptr_eq(&entry.model, cell) && !entry.model.initialized();
        if entries.get(key).is_some_and(has_failed) {
            entries.remove(key);
        }
    }

    /// Evicts the least recently used models until the rest fits, but no pinned model. A statement that still uses a model
    /// keeps it alive.
    pub(super) fn evict(&self, budget_bytes: usize, keep: &Key) {
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
