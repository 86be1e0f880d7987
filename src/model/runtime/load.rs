//! Loading of models: from the cache, or from their files.

use std::sync::Arc;

use tokio::sync::OnceCell;
use vatic_ml::artifact::Files;
use vatic_ml::device::DeviceName;
use vatic_ml::model::Model;
use vatic_ml::model::arguments::Arguments;
use vatic_ml::model::compute::{ComputeType, LoadOptions};

use super::compute::{check_device, check_type};
use super::entry::Key;
use super::loaded::LoadedModel;
use super::model_runtime::ModelRuntime;
use crate::error::Result;
use crate::model::ResolvedModel;
use crate::own_task::in_own_task;

impl ModelRuntime {
    /// The model on a device and in a type, or in that of its training if `None`, from the cache or from its files; and
    /// whether it was in the cache.
    pub(crate) async fn load(
        self: &Arc<Self>,
        model: &ResolvedModel,
        device: DeviceName,
        compute: Option<ComputeType>,
        budget_bytes: usize,
    ) -> Result<(Arc<LoadedModel>, bool)> {
        let key = Key::new(model, device, compute);
        check_device(compute, key.device)?;
        let cell = self.cell(&key, model.label());
        let is_hit = cell.initialized();
        match self.filled(&cell, model, &key).await {
            Ok(loaded) => {
                self.evict(budget_bytes, &key);
                check_type(compute, model, &loaded)?;
                let loaded = match &model.arguments {
                    None => loaded,
                    Some(arguments) => self.with_arguments(loaded, Arc::clone(arguments)).await?,
                };
                Ok((loaded, is_hit))
            }
            Err(error) => {
                self.remove_failed(&key, &cell);
                Err(error)
            }
        }
    }

    /// A loaded model for calls with these arguments.
    async fn with_arguments(
        &self,
        loaded: Arc<LoadedModel>,
        arguments: Arc<Arguments>,
    ) -> Result<Arc<LoadedModel>> {
        let model = Arc::clone(&loaded.model);
        let bind = move || model.with_arguments(&arguments);
        let model = self.run(DeviceName::Cpu, bind).await?;
        Ok(loaded.sharing(model))
    }

    /// The model of a cell, which is read from its files if there is none yet.
    async fn filled(
        self: &Arc<Self>,
        cell: &Arc<OnceCell<Arc<LoadedModel>>>,
        model: &ResolvedModel,
        key: &Key,
    ) -> Result<Arc<LoadedModel>> {
        if let Some(loaded) = cell.get() {
            return Ok(Arc::clone(loaded));
        }
        let (runtime, cell) = (Arc::clone(self), Arc::clone(cell));
        let (model, key) = (model.clone(), key.clone());
        // Other streams and statements wait for the cell.
        in_own_task(async move {
            let loaded = cell.get_or_try_init(|| runtime.read(&model, &key)).await;
            loaded.map(Arc::clone)
        })
        .await
    }

    async fn read(self: &Arc<Self>, model: &ResolvedModel, key: &Key) -> Result<Arc<LoadedModel>> {
        let (device, compute) = (key.device, key.compute);
        let loader = self.loader_of(model)?;
        let (directory, files) = (model.directory.clone(), model.manifest.files.clone());
        let label = model.label();
        let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        let fetch = move || Ok(directory.fetch(names.iter().map(String::as_str))?);
        let file_bytes = files.iter().map(|file| file.bytes as usize).sum();
        let loaded = async {
            let held = self.reservation();
            held.try_grow(file_bytes)?;
            // The only worker of a GPU does not wait for files.
            let local = self.run(DeviceName::Cpu, fetch).await?;
            let load = move || {
                let files = Files::new(local.path(), files.clone());
                let device = device.open()?;
                loader.load(&files, &LoadOptions { device, compute })
            };
            let model: Arc<dyn Model> = self.run(device, load).await?;
            held.try_resize(match device.is_gpu() {
                true => 0,
                false => model.bytes(),
            })?;
            Ok(Arc::new(LoadedModel::new(model, held)))
        };
        loaded.await.map_err(|error| {
            let mut found = crate::error::report(&error);
            found.message = format!("model \"{label}\" cannot be loaded: {}", found.message);
            found.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;
    use crate::memory::Memory;
    use crate::model::example_model;

    #[tokio::test]
    async fn a_load_that_nobody_looks_at_keeps_no_other_waiting() {
        let runtime = ModelRuntime::new(vec![], vec![], None, &Memory::new(None));
        // Without files, so that the first load ends, and the other one tries again.
        let model = example_model(&[]);
        let load = || runtime.load(&model, DeviceName::Cpu, None, usize::MAX);
        let mut begun = Box::pin(load());
        assert!((&mut begun).now_or_never().is_none());
        let other = tokio::time::timeout(Duration::from_secs(60), load()).await;
        let error = other.unwrap().unwrap_err().to_string();
        assert!(error.contains("cannot be loaded"), "{error}");
        assert!(runtime.cached().is_empty());
        drop(begun);
    }
}
