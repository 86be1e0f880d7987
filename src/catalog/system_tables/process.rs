//! `ml.model_cache` and `.devices`: the models that this process has loaded, and where they run.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int64Array, ListBuilder, StringArray, StringBuilder,
};
use datafusion::arrow::record_batch::RecordBatch;

use super::columns::{integers, strings};
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
        (
            "in_use",
            Arc::new(BooleanArray::from_iter(
                each().map(|model| Some(model.is_in_use)),
            )) as ArrayRef,
        ),
        (
            "pinned",
            Arc::new(BooleanArray::from_iter(
                each().map(|model| Some(model.is_pinned)),
            )) as ArrayRef,
        ),
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
        memory.push(Some(gpu.memory_bytes as i64));
        free.push(Some(gpu.free_bytes as i64).filter(|_| gpu.failure.is_none()));
        failure.push(gpu.failure.clone());
    }
    let mut models = ListBuilder::new(StringBuilder::new());
    for device in &device {
        let on = cached
            .iter()
            .filter(|model| model.device.to_string() == *device);
        let mut names: Vec<&str> = on.map(|model| model.name.as_str()).collect();
        // A model may be there in several types.
        names.dedup();
        models.append_value(names.into_iter().map(Some));
    }
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("device", strings(device.into_iter()), false),
        ("name", strings(name.into_iter()), false),
        (
            "memory_bytes",
            Arc::new(Int64Array::from(memory)) as ArrayRef,
            true,
        ),
        ("free_bytes", Arc::new(Int64Array::from(free)), true),
        ("failure", Arc::new(StringArray::from(failure)), true),
        ("models", Arc::new(models.finish()), false),
    ])?)
}
