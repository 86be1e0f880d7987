//! What is known of a version of a model: everything but its weights.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use vatic_ml::artifact;
use vatic_ml::artifact::ModelFile;
use vatic_ml::data::labels::Labels;
use vatic_ml::data::signature::Signature;
use vatic_ml::model::metrics::Metric;
use vatic_ml::train::fit::EpochRecord;
use vatic_ml::train::options::TrainOptions;

use crate::error::{Result, SqlState, io_err, sql_err};
use crate::storage::Place;

/// The file of a version's directory that describes the others.
pub(crate) const MANIFEST_FILE: &str = "manifest.json";
/// The version of the manifest that this build writes.
pub(crate) const MANIFEST_FORMAT: u32 = 1;

/// The description of one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format_version: u32,
    /// Which training made it.
    pub(crate) run_id: String,
    pub(crate) created_at: DateTime<Utc>,
    /// The version of vatic that wrote it.
    pub(crate) engine: String,
    pub(crate) signature: Signature,
    pub(crate) labels: Labels,
    pub(crate) options: TrainOptions,
    /// The statement that made it.
    pub(crate) training_sql: String,
    pub(crate) run: RunSummary,
    pub(crate) files: Vec<ModelFile>,
}

/// How a training went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunSummary {
    pub(crate) train_rows: u64,
    pub(crate) eval_rows: u64,
    pub(crate) skipped_rows: u64,
    pub(crate) train_loss: f64,
    pub(crate) eval_loss: Option<f64>,
    /// Of the evaluation rows, or of the training rows if there are none.
    pub(crate) metrics: Vec<Metric>,
    pub(crate) history: Vec<EpochRecord>,
    pub(crate) duration_ms: u64,
    pub(crate) device: String,
    pub(crate) workers: usize,
    pub(crate) shards: usize,
    pub(crate) batch_size: usize,
    pub(crate) optimizer: String,
    /// A hash of the rows as a multiset.
    pub(crate) rows_hash: String,
    /// What the user should know of the rows.
    #[serde(default)]
    pub(crate) notices: Vec<String>,
}

impl RunSummary {
    /// The metric that stands for all: accuracy or r2.
    pub(crate) fn main_metric(&self) -> Option<&Metric> {
        let is_main = |metric: &&Metric| matches!(metric.name.as_str(), "accuracy" | "r2");
        self.metrics.iter().find(is_main)
    }

    /// Which rows the metrics are of.
    pub(crate) fn split(&self) -> &'static str {
        if self.eval_rows > 0 { "eval" } else { "train" }
    }
}

impl Manifest {
    /// Reads the manifest of a version whose hash is known.
    pub(crate) fn read(directory: &Place, sha256: &str, model: &str) -> Result<Self> {
        let corrupt = |problem: String| {
            sql_err(
                SqlState::Io,
                format!("manifest of model {model}: {problem}"),
            )
        };
        let read = directory.join(MANIFEST_FILE).read();
        let content = read.map_err(|error| io_err(format!("manifest of model {model}"), &error))?;
        if artifact::sha256(&content) != sha256 {
            return Err(corrupt(
                "its SHA-256 is not the one published; restore the file, or drop the version"
                    .into(),
            ));
        }
        let manifest = Self::from_json(&content).map_err(corrupt)?;
        Ok(manifest)
    }

    fn from_json(content: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            format_version: u32,
        }
        let Format { format_version } =
            serde_json::from_slice(content).map_err(|error| error.to_string())?;
        if format_version > MANIFEST_FORMAT {
            return Err(format!(
                "format version {format_version}, this build reads up to {MANIFEST_FORMAT}; upgrade vatic"
            ));
        }
        let manifest: Self = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        let is_plain = |name: &str| {
            !name.is_empty() && !name.contains(['/', '\\', ':', '\0']) && !name.starts_with('.')
        };
        if let Some(file) = manifest.files.iter().find(|file| !is_plain(&file.name)) {
            return Err(format!(
                "\"{}\" is not the name of a file",
                file.name.escape_debug()
            ));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> serde_json::Value {
        let column = serde_json::json!({"name": "x", "data_type": "Float64"});
        serde_json::json!({
            "format_version": 1, "run_id": "r", "created_at": "2026-01-01T00:00:00Z", "engine": "0.1.0",
            "signature": {"features": [column.clone()], "target": column},
            "labels": {"number": {"mean": 0.0, "std": 1.0}},
            "options": TrainOptions::default(), "training_sql": "TRAIN",
            "run": {"train_rows": 1, "eval_rows": 0, "skipped_rows": 0, "train_loss": 0.5, "eval_loss": null,
                "metrics": [], "history": [], "duration_ms": 1, "device": "cpu", "workers": 1, "shards": 8,
                "batch_size": 32, "optimizer": "adamw", "rows_hash": "00"},
            "files": [{"name": "model.safetensors", "bytes": 1, "sha256": "00"}],
        })
    }

    fn read(edit: impl FnOnce(&mut serde_json::Value)) -> Result<Manifest, String> {
        let mut value = example();
        edit(&mut value);
        Manifest::from_json(value.to_string().as_bytes())
    }

    #[test]
    fn only_whole_and_known_manifests_are_read() {
        assert!(read(|_| {}).is_ok());
        let missing = read(|value| {
            value.as_object_mut().unwrap().remove("files");
        });
        assert!(missing.unwrap_err().contains("files"));
        assert!(
            read(|value| value["surprise"] = 1.into())
                .unwrap_err()
                .contains("surprise")
        );
        assert!(
            read(|value| value["format_version"] = 2.into())
                .unwrap_err()
                .contains("upgrade")
        );
        assert!(Manifest::from_json(b"").is_err());
        for name in ["../x", "/etc/passwd", "a/b", "", ".hidden", "c:x"] {
            let error = read(|value| value["files"][0]["name"] = name.into()).unwrap_err();
            assert!(error.contains("not the name of a file"), "{name}: {error}");
        }
    }
}
