//! [`TrainTask`], which all ranks of a training receive; [`RankResult`], which rank 0 returns.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vatic_ml::artifact::ModelFile;
use vatic_ml::data::signature::Signature;
use vatic_ml::model::Batching;
use vatic_ml::model::network::LayerSummary;
use vatic_ml::model::recommender::Sides;
use vatic_ml::train::fit::TrainSpec;

use crate::model::{ModelAddress, RunSummary};
use crate::storage::Place;

/// The result of a successful training, returned by rank 0.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RankResult {
    pub(crate) run: RunSummary,
    pub(crate) signature: Signature,
    pub(crate) batching: Batching,
    /// The layers of the network, if it is a list of layers.
    pub(crate) layers: Vec<LayerSummary>,
    /// The inputs of users and of items, if the model recommends.
    pub(crate) sides: Option<Sides>,
    pub(crate) files: Vec<ModelFile>,
}

/// The data that all ranks of a training receive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TrainTask {
    /// The id of this attempt; each attempt of a training has its own.
    pub(crate) run_id: String,
    pub(crate) model: String,
    /// Without the base model, which each process loads.
    pub(crate) spec: TrainSpec,
    /// The model whose weights the training starts from.
    pub(crate) base: Option<ModelAddress>,
    pub(crate) workers: usize,
    /// The place where rank 0 writes the files. Each attempt has its own, so no state names the files of a late rank.
    pub(crate) target: Place,
    /// The place of the checkpoint from which another attempt resumes.
    pub(crate) checkpoint: Place,
    /// The port on the engine's host at which remote ranks join the training; `None` without a cluster.
    pub(crate) port: Option<u16>,
    /// The time from the beginning of the statement to that of the attempt.
    pub(crate) spent: Duration,
}
