//! `ml.model_cache` and `.devices`: the models that this process has loaded, and where they run.

use datafusion::arrow::record_batch::RecordBatch;

use super::columns::{booleans, integers, lists, strings};
use super::sources::SystemTables;
use crate::error::Result;

pub(super) fn model_cache(of: &SystemTables) -> Result<RecordBatch> {
    let cached = of.cache.cached();
    let each = || cached.iter();
    Ok(RecordBatch::try_from_iter([
        ("model", strings(each().map(|model| model.name.clone()))),
        ("sha256", strings(each().map(|model| model.sha256.clone()))),
        (
            "device",
            strings(each().map(|model| model.device.to_string())),
        ),
        (
            "dtype",
            strings(each().map(|model| model.compute.to_string())),
        ),
        ("bytes", integers(each().map(|model| model.bytes as u64))),
        ("hits", integers(each().map(|model| model.hits))),
        ("in_use", booleans(each().map(|model| model.is_in_use))),
        ("pinned", booleans(each().map(|model| model.is_pinned))),
    ])?)
}

/// The processor and the GPUs of this process, with the models that are loaded on each.
pub(super) fn devices(of: &SystemTables) -> Result<RecordBatch> {
    let cores = vatic_ml::device::cores();
    // An error says that there is no GPU, which the absence of rows says too.
    let gpus = vatic_ml::device::gpus().unwrap_or_default();
    let cached = of.cache.cached();
    let (mut device, mut name) = (vec!["cpu".to_owned()], vec![format!("{cores} cores")]);
    let (mut memory, mut free, mut failure) = (vec![None], vec![None], vec![None]);
    for gpu in &gpus {
        device.push(gpu.device.to_string());
        name.push(gpu.name.clone());
        memory.push(Some(gpu.memory_bytes));
        free.push(Some(gpu.free_bytes).filter(|_| gpu.failure.is_none()));
        failure.push(gpu.failure.clone());
    }
    let models = lists(device.iter().map(|device| {
        let on = cached
            .iter()
            .filter(|model| model.device.to_string() == *device);
        let mut names: Vec<String> = on.map(|model| model.name.clone()).collect();
        // A model may be there in several types.
        names.dedup();
        names
    }));
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("device", strings(device.into_iter()), false),
        ("name", strings(name.into_iter()), false),
        ("memory_bytes", integers(memory.into_iter()), true),
        ("free_bytes", integers(free.into_iter()), true),
        ("failure", strings(failure.into_iter()), true),
        ("models", models, false),
    ])?)
}
