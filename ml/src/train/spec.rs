//! [`TrainSpec`]: what a training trains on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::columns::Columns;
use crate::model::Model;
use crate::model::options::TrainOptions;

/// The specification of a training.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrainSpec {
    /// Features and targets.
    pub columns: Columns,
    /// The options.
    pub options: TrainOptions,
    /// Number of virtual shards.
    pub shards: usize,
    /// The model of the option `base_model`, on the host. Each rank loads it.
    #[serde(skip)]
    pub base: Option<Arc<dyn Model>>,
}
