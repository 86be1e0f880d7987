//! `information_schema.models` and `.model_versions`.

use datafusion::arrow::record_batch::RecordBatch;

use super::columns::{booleans, integers, lists, strings, times};
use super::sources::SystemTables;
use crate::catalog::CATALOG;
use crate::error::Result;
use crate::model::{Manifest, ModelName, ModelState, VersionEntry};

pub(super) fn models(of: &SystemTables) -> Result<RecordBatch> {
    let models = of.registry.list()?;
    let default = |(name, state): &(ModelName, ModelState)| {
        let entry = state
            .versions
            .iter()
            .find(|entry| entry.version == state.default_version)?;
        of.registry.open(name, entry).ok()
    };
    let each = || models.iter();
    let types =
        each().map(|model| default(model).map(|model| model.manifest.model_type().to_owned()));
    Ok(RecordBatch::try_from_iter_with_nullable([
        (
            "model_catalog",
            strings(each().map(|_| CATALOG.to_owned())),
            false,
        ),
        (
            "model_schema",
            strings(each().map(|(name, _)| name.schema.clone())),
            false,
        ),
        (
            "model_name",
            strings(each().map(|(name, _)| name.name.clone())),
            false,
        ),
        ("model_type", strings(types), true),
        (
            "default_version",
            integers(each().map(|(_, state)| state.default_version)),
            false,
        ),
        (
            "version_count",
            integers(each().map(|(_, state)| state.versions.len() as u64)),
            false,
        ),
        (
            "comment",
            strings(each().map(|(_, state)| state.comment.clone())),
            true,
        ),
        (
            "created_at",
            times(each().map(|(_, state)| state.created_at)),
            false,
        ),
    ])?)
}

pub(super) fn model_versions(of: &SystemTables) -> Result<RecordBatch> {
    let models = of.registry.list()?;
    let versions: Vec<(&ModelName, &ModelState, &VersionEntry)> = models
        .iter()
        .flat_map(|(name, state)| state.versions.iter().map(move |entry| (name, state, entry)))
        .collect();
    // A version with a damaged manifest is listed too, so that it can be dropped.
    let manifests: Vec<_> = versions
        .iter()
        .map(|(name, _, entry)| {
            of.registry
                .open(name, entry)
                .ok()
                .map(|model| model.manifest)
        })
        .collect();
    let each = || versions.iter();
    let known = || manifests.iter().map(|manifest| manifest.as_deref());
    let trained = || known().map(|manifest| manifest.and_then(Manifest::trained));
    let target = |manifest: Option<&Manifest>| {
        let labels = manifest?.signature.labels();
        let names: Vec<&str> = labels.map(|label| label.target.name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let features = known().map(|manifest| {
        let manifest = manifest.into_iter();
        let columns = manifest.flat_map(|manifest| &manifest.signature.inputs);
        columns
            .map(|column| column.name.clone())
            .collect::<Vec<_>>()
    });
    let metrics = known().map(|manifest| {
        manifest.and_then(Manifest::trained).map(|trained| {
            let present = trained
                .run
                .metrics
                .iter()
                .filter_map(|m| m.value.map(|value| (m.full_name(), value.into())));
            serde_json::Value::Object(present.collect()).to_string()
        })
    });
    let is_default = each().map(|(_, state, entry)| entry.version == state.default_version);
    Ok(RecordBatch::try_from_iter_with_nullable([
        (
            "model_catalog",
            strings(each().map(|_| CATALOG.to_owned())),
            false,
        ),
        (
            "model_schema",
            strings(each().map(|(name, ..)| name.schema.clone())),
            false,
        ),
        (
            "model_name",
            strings(each().map(|(name, ..)| name.name.clone())),
            false,
        ),
        (
            "version",
            integers(each().map(|(.., entry)| entry.version)),
            false,
        ),
        (
            "aliases",
            lists(each().map(|(.., entry)| entry.aliases.clone())),
            false,
        ),
        ("is_default", booleans(is_default), false),
        (
            "model_type",
            strings(known().map(|m| m.map(|m| m.model_type().to_owned()))),
            true,
        ),
        ("features", lists(features), false),
        ("target", strings(known().map(target)), true),
        (
            "train_rows",
            integers(trained().map(|t| t.map(|t| t.run.train_rows))),
            true,
        ),
        (
            "eval_rows",
            integers(trained().map(|t| t.map(|t| t.run.eval_rows))),
            true,
        ),
        ("metrics", strings(metrics), true),
        (
            "seed",
            integers(trained().map(|t| t.map(|t| t.options.seed))),
            true,
        ),
        (
            "bytes",
            integers(
                known().map(|m| m.map(|m| m.files.iter().map(|file| file.bytes).sum::<u64>())),
            ),
            true,
        ),
        (
            "sha256",
            strings(known().map(|m| m.and_then(weights_sha256))),
            true,
        ),
        (
            "training_sql",
            strings(known().map(|m| m.map(|m| m.statement().to_owned()))),
            true,
        ),
        (
            "created_at",
            times(known().map(|m| m.map(|m| m.created_at))),
            true,
        ),
    ])?)
}

/// The hash of the weights; it is equal for trainings with the same weights.
fn weights_sha256(manifest: &Manifest) -> Option<String> {
    let file = manifest
        .files
        .iter()
        .find(|file| file.name == vatic_ml::artifact::WEIGHTS_FILE)?;
    Some(file.sha256.clone())
}
