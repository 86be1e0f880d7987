//! [`Manifest`]: the description of a model version, everything except the weights.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use vatic_ml::artifact::ModelFile;
use vatic_ml::data::signature::Signature;
use vatic_ml::model::metrics::Metric;
use vatic_ml::model::network::LayerSummary;
use vatic_ml::model::options::{NullHandling, TrainOptions};
use vatic_ml::model::recommender::Sides;
use vatic_ml::model::{Batching, Prompt};
use vatic_ml::train::control::EpochRecord;
use vatic_ml::train::fit::Refit;

/// The file in a version's directory that describes the other files.
pub(crate) const MANIFEST_FILE: &str = "manifest.json";
/// The manifest format that this build writes. The build also reads format 1.
pub(crate) const MANIFEST_FORMAT: u32 = 2;

/// The description of one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format_version: u32,
    pub(crate) created_at: DateTime<Utc>,
    /// The Vatic version that wrote the manifest.
    pub(crate) engine: String,
    /// The format of the model's files, which selects the loader.
    pub(crate) format: String,
    pub(crate) signature: Signature,
    pub(crate) batching: Batching,
    /// The layers of the network, if it is a list of layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) layers: Vec<LayerSummary>,
    /// Texts that may be put before each text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) prompts: Vec<Prompt>,
    /// What else a user may want to know: names and values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) facts: Vec<(String, String)>,
    /// The inputs of users and of items, if the model recommends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sides: Option<Sides>,
    pub(crate) origin: Origin,
    pub(crate) files: Vec<ModelFile>,
}

/// The origin of a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// Created by TRAIN.
    Trained(Box<Trained>),
    /// Imported from files.
    Imported(Imported),
}

/// The training that made a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trained {
    pub(crate) run_id: String,
    /// The TRAIN statement.
    pub(crate) statement: String,
    pub(crate) options: TrainOptions,
    pub(crate) run: RunSummary,
}

/// The source of an imported version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Imported {
    /// The directory or URL of its files.
    pub(crate) source: String,
    /// The licence of the files, if it is known.
    pub(crate) licence: Option<String>,
    /// The CREATE MODEL statement.
    pub(crate) statement: String,
}

/// The statistics of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunSummary {
    pub(crate) train_rows: u64,
    pub(crate) eval_rows: u64,
    /// The second training, on all rows, whose weights the model has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refit: Option<Refit>,
    pub(crate) skipped_rows: u64,
    pub(crate) train_loss: f64,
    pub(crate) eval_loss: Option<f64>,
    /// Metrics of the evaluation rows, or of the training rows if there are no evaluation rows.
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
    /// Notices about the rows.
    #[serde(default)]
    pub(crate) notices: Vec<String>,
    /// The layers, in manifests of earlier builds: see [`Manifest::layers`].
    #[serde(default, skip_serializing)]
    pub(crate) layers: Vec<LayerSummary>,
}

impl RunSummary {
    /// The main metric: accuracy or r2 of the first target, or ndcg_at_10 of implicit feedback.
    pub(crate) fn main_metric(&self) -> Option<&Metric> {
        let is_main =
            |metric: &&Metric| matches!(metric.name.as_str(), "accuracy" | "r2" | "ndcg_at_10");
        self.metrics.iter().find(is_main)
    }

    /// The number of rows that the metrics were computed on.
    pub(crate) fn judged_rows(&self) -> u64 {
        match self.eval_rows {
            0 => self.train_rows,
            rows => rows,
        }
    }

    /// The rows that the metrics were computed on.
    pub(crate) fn split(&self) -> &'static str {
        if self.eval_rows > 0 { "eval" } else { "train" }
    }
}

impl Manifest {
    /// The training of the version, if the version was trained.
    pub(crate) fn trained(&self) -> Option<&Trained> {
        match &self.origin {
            Origin::Trained(trained) => Some(trained),
            Origin::Imported(_) => None,
        }
    }

    /// Whether the training replaced NULLs of features, so that `predict` does too.
    pub(crate) fn imputes(&self) -> bool {
        let trained = self.trained();
        trained.is_some_and(|trained| trained.options.null_handling == NullHandling::Impute)
    }

    /// The layers of the network, if it is a list of layers.
    pub(crate) fn layers(&self) -> &[LayerSummary] {
        match self.trained() {
            Some(trained) if self.layers.is_empty() => &trained.run.layers,
            _ => &self.layers,
        }
    }

    /// The model type of a trained model, or the format of an imported one.
    pub(crate) fn model_type(&self) -> &str {
        let trained = self.trained();
        trained.map_or(&self.format, |trained| &trained.options.model_type)
    }

    /// The statement that created the version.
    pub(crate) fn statement(&self) -> &str {
        match &self.origin {
            Origin::Trained(trained) => &trained.statement,
            Origin::Imported(imported) => &imported.statement,
        }
    }
}
