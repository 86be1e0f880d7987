//! Models, the networks in them, options of trainings, and metrics.
//!
//! * [`Model`] the interface of a model for the engine: ports, batches, encode, forward, outputs
//! * [`arguments`] what a call says of the task of a model
//! * [`network`] the model types of TRAIN, and their differentiable functions
//! * [`trained`] a network with its weights as a [`Model`]; `predicted` its predictions of one target
//! * [`text`] a network behind an encoder of texts as a [`Model`]; [`text_base`] the encoder
//! * [`compute`] the type in which a model computes
//! * [`generation`] how a model writes text
//! * [`tokens`] texts in tokens, as a model counts them; `vectors` a column of vectors
//! * [`options`] the options of a training
//! * `flat` all weights as one vector, and as the tensors of layers
//! * `passes` some rows after the other through a network
//! * [`recommender`] models that score users and items; `towers` a network that does; [`top_k`] the best items of each user
//! * [`metrics`] the metrics of a model, from its predictions

pub mod arguments;
pub mod compute;
pub(crate) mod flat;
pub mod generation;
pub mod metrics;
pub mod network;
pub mod options;
pub(crate) mod passes;
pub(crate) mod predicted;
pub mod recommender;
pub mod text;
pub mod text_base;
pub mod tokens;
pub mod top_k;
mod towers;
pub mod trained;
pub(crate) mod vectors;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::data::inputs::{Inputs, RowReport};
use crate::data::signature::Signature;
use crate::model::arguments::Arguments;
use crate::model::compute::ComputeType;
use crate::model::generation::Generation;
use crate::model::network::{LayerSummary, Network};
use crate::model::recommender::Recommender;
use crate::model::text_base::TextBase;
use crate::model::tokens::Tokens;
use crate::{Error, Result};

/// A model on a device. Many threads call it at once.
pub trait Model: Any + Debug + Send + Sync {
    /// The inputs and outputs of the model.
    fn signature(&self) -> &Signature;

    /// How many rows the model wants at once.
    fn batching(&self) -> Batching;

    /// The type in which the model computes.
    fn compute_type(&self) -> ComputeType;

    /// A description of each layer, if the network is a list of layers.
    fn layers(&self) -> Vec<LayerSummary> {
        vec![]
    }

    /// Texts that may be put before each text, such as `query: `, for a use of the model.
    fn prompts(&self) -> Vec<Prompt> {
        vec![]
    }

    /// What else a user may want to know about the model: names and values.
    fn facts(&self) -> Vec<(String, String)> {
        vec![]
    }

    /// The model for a call, if what is wanted changes more than [`Model::outputs`]: how rows are encoded, or what is computed.
    /// It shares the weights, and runs the call instead of this model.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a call that the model cannot serve.
    fn for_call(&self, wanted: &Wanted) -> Result<Option<Arc<dyn Model>>> {
        match &wanted.prompt {
            None => Ok(None),
            Some(prompt) => {
                let message = format!("it has no prompts, so none of the name \"{prompt}\"");
                Err(Error::Invalid(message))
            }
        }
    }

    /// The texts of the model, if [`Model::batching`] counts tokens.
    fn tokens(&self) -> Option<&dyn Tokens> {
        None
    }

    /// The encoder of texts that it is, if trainings may start from it.
    fn text_base(&self) -> Option<&dyn TextBase> {
        None
    }

    /// What reads texts for a network that [`TextBase::network`] made of this encoder: the model without the tensors that are
    /// parameters of the network. It computes no vectors.
    fn text_reader(&self, _network: &dyn Network) -> Option<Arc<dyn Model>> {
        None
    }

    /// The model as one that recommends, if its prediction is the product of a vector of a user and one of an item.
    fn recommender(&self) -> Option<&dyn Recommender> {
        None
    }

    /// Encodes the columns of `batch`: the inputs in the order of the signature, in its types or in types that hold the
    /// same values. Encoding runs on the host, possibly while the model runs the previous batch.
    ///
    /// # Errors
    /// If no row of the batch can be encoded. The report holds the failures of single rows.
    fn encode(&self, batch: &RecordBatch) -> Result<Inputs>;

    /// The most memory that encoding this batch takes at once besides [`Model::working_bytes`], in bytes: for example, that of
    /// an image while it is decoded. The columns are those of [`Model::encode`].
    fn encoding_bytes(&self, _batch: &RecordBatch) -> usize {
        0
    }

    /// Computes on the model's device what [`Model::outputs`] reads, on a worker of the device. On a GPU the work is
    /// queued, not awaited. The inputs are on the host or on the device. What takes long calls
    /// [`stop::check`](crate::stop::check) now and then.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] if the device has too little memory for so many rows; [`Error::Cancelled`].
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>>;

    /// The outputs from the tensors of [`Model::forward`], on a worker of the host. The first dimension of a tensor is the rows, or
    /// the elements of one row after the other.
    ///
    /// # Errors
    /// If no row has an output. The report lists rows without output; it starts as the report of the inputs.
    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs>;

    /// Both on the calling thread.
    ///
    /// # Errors
    /// The errors of [`Model::forward`] and [`Model::outputs`].
    fn run(&self, inputs: Inputs, wanted: &Wanted) -> Result<Outputs> {
        let computed = self.forward(&inputs)?;
        self.outputs(&computed, inputs.report, wanted)
    }

    /// The model for calls with these arguments, which has other outputs and perhaps other inputs. Both share the weights.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the model does not take the arguments.
    fn with_arguments(self: Arc<Self>, arguments: &Arguments) -> Result<Arc<dyn Model>> {
        Err(not_taken(arguments))
    }

    /// Memory of the weights in bytes.
    fn bytes(&self) -> usize;

    /// The most memory that a batch of `rows` rows takes, in bytes: inputs, values between the layers, and outputs.
    fn working_bytes(&self, rows: usize) -> usize;
}

/// The error of a model that does not take these arguments.
pub(crate) fn not_taken(arguments: &Arguments) -> Error {
    let (name, needs) = (arguments.name(), arguments.needs());
    Error::Invalid(format!("argument {name} needs {needs}"))
}

/// A text that is put before each text, for a use of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The name of the use, such as `query`.
    pub name: String,
    /// The text.
    pub text: String,
    /// Whether [`Model::encode`] puts it before each text.
    pub is_default: bool,
}

/// [`Model::forward`], in halves where the device has too little memory for all rows.
///
/// # Errors
/// [`Error::DeviceMemory`] if the device has too little memory for one row.
pub fn forward_in_parts(model: &dyn Model, inputs: &Inputs) -> Result<Vec<Tensor>> {
    let rows = inputs.rows();
    match model.forward(inputs) {
        Err(Error::DeviceMemory(_)) if rows > 1 => {}
        computed => return computed,
    }
    let half = |range| forward_in_parts(model, &inputs.narrow(range)?);
    let (first, second) = (half(0..rows / 2)?, half(rows / 2..rows)?);
    let both = first.iter().zip(&second);
    both.map(|(first, second)| Ok(Tensor::cat(&[first, second], 0)?))
        .collect()
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
    /// The probability from which the second of two classes, or a label of a set, is predicted.
    pub threshold: f64,
    /// How many probabilities to keep, the most probable first; all if `None`.
    pub top_k: Option<usize>,
    /// Whether to return [`Outputs::scores`].
    pub scores: bool,
    /// Whether a row with a NULL has outputs, if the training of the model imputed NULLs.
    pub imputes: bool,
    /// How a model that writes text does so.
    pub generation: Generation,
    /// The name of one of the model's prompts, each of which is a text that the model puts before the text of a row.
    pub prompt: Option<String>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            outputs: vec![],
            threshold: 0.5,
            top_k: None,
            scores: false,
            imputes: false,
            generation: Generation::default(),
            prompt: None,
        }
    }
}

/// The outputs of a model for a batch.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// One array for each wanted output, in that order; NULL for a row without output.
    pub columns: Vec<ArrayRef>,
    /// For metrics, if wanted, for one label of the signature after the other: the probabilities of all classes, row-major
    /// `[rows, classes]`, or the numbers of each row.
    pub scores: Vec<f64>,
    /// The NULLs, failures and unseen values of the rows.
    pub report: RowReport,
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    /// Doubles a number, and has memory for three rows at once.
    #[derive(Debug)]
    struct Small(Signature);

    impl Model for Small {
        fn signature(&self) -> &Signature {
            &self.0
        }

        fn batching(&self) -> Batching {
            Batching::Rows
        }

        fn compute_type(&self) -> ComputeType {
            ComputeType::F32
        }

        fn encode(&self, _batch: &RecordBatch) -> Result<Inputs> {
            Err(Error::Internal("not needed".into()))
        }

        fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
            match inputs.rows() {
                0..=3 => Ok(vec![(inputs.get("x").unwrap() * 2.0)?]),
                rows => Err(Error::DeviceMemory(format!("{rows} rows"))),
            }
        }

        fn outputs(&self, _: &[Tensor], _: RowReport, _: &Wanted) -> Result<Outputs> {
            Err(Error::Internal("not needed".into()))
        }

        fn bytes(&self) -> usize {
            0
        }

        fn working_bytes(&self, _rows: usize) -> usize {
            0
        }
    }

    #[test]
    fn a_batch_that_does_not_fit_is_computed_in_halves() {
        let model = Small(Signature {
            inputs: vec![],
            outputs: vec![],
        });
        for rows in [1, 3, 4, 7, 64] {
            let x = Tensor::arange(0u32, rows as u32, &Device::Cpu).unwrap();
            let x = x.to_dtype(DType::F32).unwrap();
            let inputs = Inputs::new(rows).with("x", x).unwrap();
            let computed = forward_in_parts(&model, &inputs).unwrap();
            let values: Vec<f32> = computed[0].to_vec1().unwrap();
            let expected: Vec<f32> = (0..rows).map(|row| 2.0 * row as f32).collect();
            assert_eq!(values, expected);
        }
    }
}
