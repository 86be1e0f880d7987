//! [`load`]: the model of a call, from the cache or from its files.

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result};
use vatic_ml::model::Wanted;

use super::options::PredictOptions;
use crate::error::report;
use crate::model::ResolvedModel;
use crate::model::runtime::{LoadedModel, ModelRuntime};

/// The model for a call that wants this, and whether it was in the cache.
///
/// # Errors
/// If the model cannot be loaded, or cannot be called so.
pub(super) async fn load(
    runtime: &Arc<ModelRuntime>,
    model: &ResolvedModel,
    options: &PredictOptions,
    wanted: &Wanted,
    cache_bytes: usize,
) -> Result<(Arc<LoadedModel>, bool)> {
    let loading = runtime.load(model, options.device, options.compute, cache_bytes);
    let (loaded, is_hit) = loading.await?;
    let loaded = loaded.for_call(wanted).map_err(|error| {
        let mut found = report(&error);
        let label = model.label();
        found.message = format!("model \"{label}\" cannot be called so: {}", found.message);
        DataFusionError::from(found)
    })?;
    Ok((loaded, is_hit))
}
