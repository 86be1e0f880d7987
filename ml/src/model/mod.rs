//! Models, the networks in them, options of trainings, and metrics.
//!
//! * [`Model`] the interface of a model for the engine: ports, batches, encode, run
//! * [`network`] the model types of TRAIN, and their differentiable functions
//! * [`trained`] a network with its weights as a [`Model`]
//! * [`options`] the options of a training
//! * `flat` all weights as one vector, and as the tensors of layers
//! * [`metrics`] the metrics of a model, from its predictions

pub(crate) mod flat;
pub mod metrics;
pub mod network;
pub mod options;
pub mod trained;

use std::fmt::Debug;

use arrow::array::{ArrayRef, RecordBatch};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::data::inputs::{Inputs, RowReport};
use crate::data::signature::Signature;

/// A model on a device. Many threads call it at once.
pub trait Model: Debug + Send + Sync {
    /// The inputs and outputs of the model.
    fn signature(&self) -> &Signature;

    /// How many rows the model wants at once.
    fn batching(&self) -> Batching;

    /// Encodes the columns of `batch`: the inputs in the order of the signature, in its types or in types that hold the
    /// same values. Encoding runs on the host, possibly while the model runs the previous batch.
    ///
    /// # Errors
    /// If no row of the batch can be encoded. The report holds the failures of single rows.
    fn encode(&self, batch: &RecordBatch) -> Result<Inputs>;

    /// Runs the model on encoded rows, on a worker of its device.
    ///
    /// # Errors
    /// If no row has an output. The report lists rows without output; it starts as the report of the inputs.
    fn run(&self, inputs: Inputs, wanted: &Wanted) -> Result<Outputs>;

    /// Memory of the weights in bytes.
    fn bytes(&self) -> usize;

    /// The most memory that a batch of `rows` rows takes, in bytes: inputs, values between the layers, and outputs.
    fn working_bytes(&self, rows: usize) -> usize;
}

/// How many rows a model wants at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Batching {
    /// As many rows as the user sets.
    #[default]
    Rows,
    /// As many rows as hold `tokens_max` tokens together, not counting padding.
    Tokens {
        /// The input whose tokens are counted.
        input: String,
        /// Tokens per batch.
        tokens_max: usize,
    },
}

/// The wanted outputs of a model, with their parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Positions of ports among the outputs of the signature.
    pub outputs: Vec<usize>,
    /// With two classes, the probability from which the second class is predicted.
    pub threshold: f64,
    /// How many probabilities to keep, the most probable first; all if `None`.
    pub top_k: Option<usize>,
    /// Whether to return [`Outputs::scores`].
    pub scores: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            outputs: vec![],
            threshold: 0.5,
            top_k: None,
            scores: false,
        }
    }
}

/// The outputs of a model for a batch.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// One array for each wanted output, in that order; NULL for a row without output.
    pub columns: Vec<ArrayRef>,
    /// For metrics, if wanted: the probabilities of all classes, row-major `[rows, classes]`, or the number of each row.
    pub scores: Vec<f64>,
    /// The NULLs, failures and unseen values of the rows.
    pub report: RowReport,
}
