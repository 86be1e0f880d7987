//! What predicts, what trains, and how good it is.
//!
//! * [`Model`] what a model is to the engine: ports, batches, encode, run
//! * [`network`] what TRAIN makes: types of models, and the differentiable functions in them
//! * [`trained`] a network with its weights as a [`Model`]
//! * [`options`] how a model is trained
//! * `flat` all weights as one vector, and as the tensors of layers
//! * [`metrics`] how good a model is, from what it said of rows

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

/// A model on a device. It is called by many threads at once.
pub trait Model: Debug + Send + Sync {
    /// What it takes and gives.
    fn signature(&self) -> &Signature;

    /// How many rows it wants at once.
    fn batching(&self) -> Batching;

    /// Encodes the columns of `batch`: the inputs in the order of the signature, in its types or in others that hold the same
    /// values. Done on the host, and perhaps ahead, while the batch before runs.
    ///
    /// # Errors
    /// If no row of the batch can be encoded; what is wrong with single rows is told in the report.
    fn encode(&self, batch: &RecordBatch) -> Result<Inputs>;

    /// Runs the model on encoded rows, on a worker of its device.
    ///
    /// # Errors
    /// If no row has an output; rows that have none are told in the report, which begins as that of the inputs.
    fn run(&self, inputs: Inputs, wanted: &Wanted) -> Result<Outputs>;

    /// Memory of the weights in bytes.
    fn bytes(&self) -> usize;

    /// Memory that a batch of so many rows takes at most, in bytes: encoded, between the layers, and its outputs.
    fn working_bytes(&self, rows: usize) -> usize;
}

/// How many rows a model wants at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Batching {
    /// As many as the user says.
    #[default]
    Rows,
    /// As many as have this many tokens together, padding not counted.
    Tokens {
        /// The input whose text is counted.
        input: String,
        /// Tokens a batch.
        tokens_max: usize,
    },
}

/// Which outputs of a model are wanted, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Positions of ports among the outputs of the signature.
    pub outputs: Vec<usize>,
    /// With two classes, the probability from which the larger one is predicted.
    pub threshold: f64,
    /// How many probabilities to keep, the most probable first; all if `None`.
    pub top_k: Option<usize>,
    /// Whether to give [`Outputs::scores`].
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

/// What a model says of a batch.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// One array for each wanted output, in that order; NULL where a row has none.
    pub columns: Vec<ArrayRef>,
    /// For metrics, if asked for: the probabilities of all classes, row-major `[rows, classes]`, or the number of each row.
    pub scores: Vec<f64>,
    /// What there is to say of the rows.
    pub report: RowReport,
}
