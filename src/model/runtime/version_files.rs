//! The files of a version for statements that read them and do not run the model.

use std::sync::Arc;

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use vatic_ml::artifact::{Files, Loader};
use vatic_ml::device::DeviceName;

use super::model_runtime::ModelRuntime;
use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModel;

impl ModelRuntime {
    /// What `work` makes of the files of a version, on a worker of the host; and the memory reserved for it, which is
    /// `copies` times that of the files.
    pub(crate) async fn with_files<T: Send + 'static>(
        &self,
        model: &ResolvedModel,
        copies: usize,
        work: impl FnOnce(&Files) -> vatic_ml::Result<T> + Send + 'static,
    ) -> Result<(T, MemoryReservation)> {
        let (directory, known) = (model.directory.clone(), model.manifest.files.clone());
        let bytes: usize = known.iter().map(|file| file.bytes as usize).sum();
        let held = MemoryConsumer::new("models").register(&self.memory);
        held.try_grow(bytes.saturating_mul(copies))?;
        let work = move || {
            let names = known.iter().map(|file| file.name.as_str());
            let local = directory.fetch(names)?;
            work(&Files::new(local.path(), known.clone()))
        };
        Ok((self.run(DeviceName::Cpu, work).await?, held))
    }

    /// The loader of a version's format.
    pub(crate) fn loader_of(&self, model: &ResolvedModel) -> Result<Arc<dyn Loader>> {
        let format = &model.manifest.format;
        let mut loaders = self.loaders.iter();
        let found = loaders.find(|loader| loader.format() == format);
        found.map(Arc::clone).ok_or_else(|| {
            let message = format!(
                "model \"{}\" is of format \"{format}\", which this build does not know",
                model.label()
            );
            sql_err(SqlState::Unsupported, message)
        })
    }
}
