//! Pinned models. LOAD MODEL loads a model and pins it: neither the budget of the cache nor a lack of memory evicts it.
//! UNLOAD MODEL and DROP MODEL drop models from the cache.
//!
//! A pin belongs to a reference as a user wrote it. When the reference means another version, the next LOAD MODEL moves the
//! pin: a model that is trained again every night leaves no old versions in memory. One version may be pinned in several types.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::human_readable_size;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vatic_ml::device::DeviceName;

use super::entry::{Entry, Key};
use super::loaded::LoadedModel;
use super::model_runtime::ModelRuntime;
use super::order::{CacheOrder, LoadOrder, ModelCopy, Pin, PinnedVersion};
use crate::error::{Result, SqlState, sql_err};
use crate::testing::crash;

impl ModelRuntime {
    /// Obeys an order, and returns the copy that it loaded or the copies that it dropped. The memory of dropped copies that no
    /// statement uses is free then; that of others when the last statement that uses them ends.
    pub(crate) async fn obey(self: &Arc<Self>, order: CacheOrder) -> Result<Vec<ModelCopy>> {
        match order {
            CacheOrder::Load(load) => Ok(vec![self.load_pinned(&load).await?]),
            CacheOrder::Unload { sha256s } => {
                let (copies, freeing) = self.drop_copies(&sha256s);
                futures::future::join_all(freeing).await;
                Ok(copies)
            }
        }
    }

    /// Drops these versions from the cache at once, and gives their memory back in the background.
    pub(crate) fn forget(self: &Arc<Self>, sha256s: &HashSet<String>) {
        self.drop_copies(sha256s);
    }

    /// The versions that are pinned on some device.
    pub(crate) fn pinned(&self) -> HashSet<PinnedVersion> {
        let entries = self.lock();
        let pins = entries
            .iter()
            .flat_map(|(key, entry)| entry.pins.iter().map(move |pin| (key, pin)));
        pins.map(|(key, pin)| PinnedVersion {
            data: pin.data.clone(),
            sha256: key.sha256.clone(),
        })
        .collect()
    }

    async fn load_pinned(self: &Arc<Self>, load: &LoadOrder) -> Result<ModelCopy> {
        crash::point("load-model");
        let address = load.model.clone();
        // The manifest may be in a store.
        let open = move || Ok(address.open());
        let model = self.run(DeviceName::Cpu, open).await??;
        let (device, compute) = (load.device, load.compute);
        let (loaded, was_loaded) = self.load(&model, device, compute, load.cache_bytes).await?;
        let key = Key::new(&model, device, compute);
        self.pin(load, &key, &loaded)?;
        Ok(ModelCopy {
            device: key.device,
            bytes: loaded.bytes(),
            was_loaded,
        })
    }

    /// Moves the pin of an order to a loaded model, which may have been evicted since it was loaded.
    fn pin(&self, load: &LoadOrder, key: &Key, loaded: &Arc<LoadedModel>) -> Result<()> {
        let mut entries = self.lock();
        let is_pinned = entries.get(key).is_some_and(Entry::is_pinned);
        let pinned_bytes = pinned_by_others(&entries, key, &load.pin) + loaded.bytes();
        if !is_pinned && pinned_bytes > load.cache_bytes {
            let message = format!(
                "model \"{}\" cannot be kept in memory: all pinned models would take {}, and vatic.cache_bytes is {}; raise it, \
                 or UNLOAD other models",
                load.model.label(),
                human_readable_size(pinned_bytes),
                human_readable_size(load.cache_bytes),
            );
            return Err(sql_err(SqlState::OutOfMemory, message));
        }
        for (other, entry) in entries.iter_mut() {
            if is_left(other, key) {
                entry.pins.remove(&load.pin);
            }
        }
        let new = || Entry::new(load.model.label(), OnceCell::new());
        let entry = entries.entry(key.clone()).or_insert_with(new);
        // Another statement may be loading the model again, which may fail.
        if !entry.model.initialized() {
            entry.model = Arc::new(OnceCell::new_with(Some(Arc::clone(loaded))));
        }
        entry.pins.insert(load.pin.clone());
        Ok(())
    }

    /// Drops all copies of these versions from the cache. The tasks give the memory of copies that no statement uses back to
    /// their GPUs; other copies follow when their last statement ends.
    fn drop_copies(
        self: &Arc<Self>,
        sha256s: &HashSet<String>,
    ) -> (Vec<ModelCopy>, Vec<JoinHandle<()>>) {
        let entries: Vec<_> = self
            .lock()
            .extract_if(|key, _| sha256s.contains(&key.sha256))
            .collect();
        let (mut copies, mut freeing) = (Vec::new(), Vec::new());
        for (key, entry) in entries {
            let Some(dropped) = Dropped::of(key.device, entry) else {
                continue;
            };
            let is_used = dropped.is_used;
            copies.push(dropped.copy.clone());
            if key.device.is_gpu() {
                let task = Handle::current().spawn(Arc::clone(self).free(dropped));
                freeing.extend((!is_used).then_some(task));
            }
        }
        (copies, freeing)
    }

    /// Gives the memory of a copy back to its GPU, once no statement uses the copy.
    async fn free(self: Arc<Self>, dropped: Dropped) {
        dropped.freed.cancelled().await;
        let device = dropped.copy.device;
        if let Err(error) = self.run(device, move || device.trim()).await {
            tracing::debug!(%device, %error, "the memory of a model cannot be given back");
        }
    }
}

/// A copy that is not in the cache any more.
struct Dropped {
    copy: ModelCopy,
    /// Cancelled when the copy is freed.
    freed: CancellationToken,
    is_used: bool,
}

impl Dropped {
    /// The copy of an entry, which is freed unless a statement uses it; `None` if a statement is still loading it.
    fn of(device: DeviceName, entry: Entry) -> Option<Self> {
        let model = entry.model.get()?;
        Some(Self {
            copy: ModelCopy {
                device,
                bytes: model.bytes(),
                was_loaded: true,
            },
            freed: model.freed.token().clone(),
            // A statement that is about to use the model holds its cell.
            is_used: Arc::strong_count(model) > 1 || Arc::strong_count(&entry.model) > 1,
        })
    }
}

/// Whether a pin leaves a model when it moves to another one: to another version on the same device.
fn is_left(other: &Key, key: &Key) -> bool {
    other.device == key.device && other.sha256 != key.sha256
}

/// The bytes of the other models that stay pinned if this pin moves away from them.
fn pinned_by_others(entries: &HashMap<Key, Entry>, key: &Key, pin: &Pin) -> usize {
    let others = entries.iter().filter(|(other, entry)| {
        let is_released = |own: &Pin| own == pin && is_left(other, key);
        *other != key && entry.pins.iter().any(|own| !is_released(own))
    });
    others.map(|(_, entry)| entry.bytes()).sum()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::record_batch::RecordBatch;
    use futures::TryStreamExt;
    use vatic_ml::model::compute::ComputeType;

    use super::*;
    use crate::engine::Engine;
    use crate::memory::Cache;
    use crate::model::ModelRef;

    async fn run(engine: &Engine, sql: &str) {
        let session = engine.session().unwrap();
        let rows = session.sql(sql).await.unwrap();
        rows.try_collect::<Vec<RecordBatch>>().await.unwrap();
    }

    /// An engine with the model `m`, which is loaded and pinned.
    async fn engine() -> Engine {
        let engine = Engine::builder().build().unwrap();
        run(&engine, "CREATE TABLE t AS SELECT value * 1.0 AS x, value * 2.0 AS y FROM generate_series(1, 20)").await;
        run(
            &engine,
            "TRAIN MODEL m TARGET y OPTIONS (model_type = 'linear_reg') AS SELECT x, y FROM t",
        )
        .await;
        run(&engine, LOAD).await;
        engine
    }

    const LOAD: &str = "LOAD MODEL m OPTIONS (device = 'cpu')";

    fn order(engine: &Engine) -> LoadOrder {
        let reference = ModelRef::parse("m").unwrap();
        let state = engine.registry().get(&reference.name).unwrap();
        let model = engine.registry().resolve(&reference, &state).unwrap();
        LoadOrder {
            model: model.address(),
            device: DeviceName::Cpu,
            compute: None,
            pin: Pin {
                data: engine.data().root().to_string(),
                reference: reference.to_string(),
            },
            cache_bytes: 1 << 30,
        }
    }

    /// The only model of the cache.
    fn cached(runtime: &ModelRuntime) -> (Key, Arc<LoadedModel>) {
        let entries = runtime.lock();
        assert_eq!(entries.len(), 1);
        let (key, entry) = entries.iter().next().unwrap();
        (key.clone(), Arc::clone(entry.model.get().unwrap()))
    }

    fn is_pinned(runtime: &ModelRuntime, key: &Key) -> bool {
        runtime.lock().get(key).is_some_and(Entry::is_pinned)
    }

    #[tokio::test]
    async fn a_lack_of_memory_evicts_no_pinned_model() {
        let engine = engine().await;
        assert!(!engine.runtime().shrink());
        assert_eq!(engine.runtime().cached().len(), 1);
        run(&engine, "UNLOAD MODEL m").await;
        assert!(engine.runtime().cached().is_empty());
        run(
            &engine,
            "SELECT * FROM predict(m, (SELECT 1.0 AS x), device => 'cpu')",
        )
        .await;
        assert!(engine.runtime().shrink());
    }

    #[tokio::test]
    async fn a_version_stays_pinned_in_each_type() {
        let engine = engine().await;
        let (runtime, order) = (engine.runtime(), order(&engine));
        let (key, loaded) = cached(runtime);
        let half = Key {
            compute: Some(ComputeType::Bf16),
            ..key.clone()
        };
        runtime.pin(&order, &half, &loaded).unwrap();
        assert!(is_pinned(runtime, &key) && is_pinned(runtime, &half));
        let next = Key {
            sha256: "of the next version".into(),
            ..key.clone()
        };
        runtime.pin(&order, &next, &loaded).unwrap();
        assert!(!is_pinned(runtime, &key) && !is_pinned(runtime, &half));
        assert!(is_pinned(runtime, &next));
    }

    #[tokio::test]
    async fn pins_in_several_types_count_together() {
        let engine = engine().await;
        let (runtime, mut order) = (engine.runtime(), order(&engine));
        let (key, loaded) = cached(runtime);
        let half = Key {
            compute: Some(ComputeType::Bf16),
            ..key.clone()
        };
        order.cache_bytes = 2 * loaded.bytes() - 1;
        let refused = runtime.pin(&order, &half, &loaded).unwrap_err();
        assert_eq!(crate::report(&refused).state, SqlState::OutOfMemory);
        let next = Key {
            sha256: "of the next version".into(),
            ..key
        };
        runtime.pin(&order, &next, &loaded).unwrap();
    }

    #[tokio::test]
    async fn a_load_that_fails_removes_no_model_of_another_load() {
        let engine = engine().await;
        let (runtime, order) = (engine.runtime(), order(&engine));
        let (key, loaded) = cached(runtime);
        // UNLOAD MODEL and LOAD MODEL run while another statement loads.
        run(&engine, "UNLOAD MODEL m").await;
        let loading = runtime.cell(&key, "m".into());
        run(&engine, "UNLOAD MODEL m").await;
        run(&engine, LOAD).await;
        runtime.remove_failed(&key, &loading);
        assert!(is_pinned(runtime, &key));
        // The pinned model was evicted before it was pinned, and another statement loads it again.
        run(&engine, "UNLOAD MODEL m").await;
        let loading = runtime.cell(&key, "m".into());
        runtime.pin(&order, &key, &loaded).unwrap();
        runtime.remove_failed(&key, &loading);
        assert!(is_pinned(runtime, &key));
        // Nothing is left of a load that fails alone.
        run(&engine, "UNLOAD MODEL m").await;
        let loading = runtime.cell(&key, "m".into());
        runtime.remove_failed(&key, &loading);
        assert!(runtime.lock().is_empty());
    }
}
