//! What is known of a version of a model: everything but its weights.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use vatic_ml::artifact::ModelFile;
use vatic_ml::data::signature::Signature;
use vatic_ml::model::Batching;
use vatic_ml::model::metrics::Metric;
use vatic_ml::model::options::TrainOptions;
use vatic_ml::train::control::EpochRecord;

/// The file of a version's directory that describes the others.
pub(crate) const MANIFEST_FILE: &str = "manifest.json";
/// The version of the manifest that this build writes. It reads version 1 as well.
pub(crate) const MANIFEST_FORMAT: u32 = 2;

/// The description of one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format_version: u32,
    pub(crate) created_at: DateTime<Utc>,
    /// The version of vatic that wrote it.
    pub(crate) engine: String,
    /// The format of its files: which loader opens them.
    pub(crate) format: String,
    pub(crate) signature: Signature,
    pub(crate) batching: Batching,
    pub(crate) origin: Origin,
    pub(crate) files: Vec<ModelFile>,
}

/// Where a version comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// TRAIN made it.
    Trained(Box<Trained>),
    /// It was made elsewhere.
    Imported(Imported),
}

/// The training that made a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trained {
    pub(crate) run_id: String,
    /// The statement.
    pub(crate) statement: String,
    pub(crate) options: TrainOptions,
    pub(crate) run: RunSummary,
}

/// Where a version was brought from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Imported {
    /// The directory or address of its files.
    pub(crate) source: String,
    /// Under which terms they may be used, if that is known.
    pub(crate) licence: Option<String>,
    /// The statement.
    pub(crate) statement: String,
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
    /// The training that made it, if one did.
    pub(crate) fn trained(&self) -> Option<&Trained> {
        match &self.origin {
            Origin::Trained(trained) => Some(trained),
            Origin::Imported(_) => None,
        }
    }

    /// The type of model that was trained, or the format of one that was imported.
    pub(crate) fn model_type(&self) -> &str {
        let trained = self.trained();
        trained.map_or(&self.format, |trained| &trained.options.model_type)
    }

    /// The statement that made it.
    pub(crate) fn statement(&self) -> &str {
        match &self.origin {
            Origin::Trained(trained) => &trained.statement,
            Origin::Imported(imported) => &imported.statement,
        }
    }
}
