//! What can be trained ([`ModelType`], [`Network`]) and what was ([`Model`]).
//!
//! * `flat` all weights as one vector, and as the tensors of layers
//! * [`metrics`] how good a model is, from what it said of rows

pub(crate) mod flat;
pub mod metrics;

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use arrow::buffer::NullBuffer;
use candle_core::{DType, Device, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::data::encode::tabular::{ColumnEncoder, Encoder, Features, InputShape};
use crate::data::labels::{Labels, class_values, numbers};
use crate::data::numbers::Precision;
use crate::data::signature::Signature;
use crate::model::flat::tensors_of;
use crate::train::fit::CHUNK_ROWS;
use crate::train::loss::softmax;
use crate::train::options::{Optimizer, TrainOptions};
use crate::{Error, Result, random};

/// What a model says of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// One of the labels seen in training.
    Classification,
    /// A number.
    Regression,
}

/// Something that TRAIN MODEL can make. To add one: implement it and append it to
/// [`crate::models::MODEL_TYPES`], or hand it to the engine.
pub trait ModelType: Debug + Send + Sync {
    /// The value of the option `model_type`.
    fn name(&self) -> &str;
    /// What its models say.
    fn task(&self) -> Task;
    /// Whether outputs are linear in the features, which admits exact solvers.
    fn is_linear(&self) -> bool {
        false
    }
    /// How precisely its models are stored and compute.
    fn precision(&self) -> Precision {
        Precision::Single
    }
    /// The weight of half the sum of squared weights if the user gives none.
    fn default_l2(&self, _train_rows: u64) -> f64 {
        0.0
    }
    /// The optimiser if the user names none.
    fn default_optimizer(&self, shape: &InputShape, options: &TrainOptions) -> Optimizer;
    /// The network for this input; `outputs` is one, or the number of classes if more than two.
    fn network(
        &self,
        shape: &InputShape,
        outputs: usize,
        options: &TrainOptions,
    ) -> Box<dyn Network>;
}

/// A differentiable function of features and parameters.
pub trait Network: Send + Sync {
    /// The parameters, in the order in which [`Network::forward`] takes them.
    fn parameters(&self) -> &[Parameter];
    /// The outputs `[rows, outputs]`. `dropout` draws the masks of a training step; `None` in prediction.
    fn forward(
        &self,
        parameters: &[Tensor],
        input: &Input,
        dropout: Option<&mut ChaCha8Rng>,
    ) -> Result<Tensor>;
}

/// A named tensor of weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The name in the model file.
    pub name: String,
    /// The dimensions.
    pub shape: Vec<usize>,
    /// What it is before training.
    pub init: Init,
    /// Whether penalties apply; they do to weights, not to biases.
    pub penalised: bool,
}

impl Parameter {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values before training.
    pub fn initial_values(&self, seed: u64) -> Vec<f32> {
        let mut random = random::stream(seed, &self.name, &[]);
        let (Init::Uniform { bound } | Init::Categories { bound, .. }) = self.init;
        let mut values: Vec<f32> = (0..self.len())
            .map(|_| (random.random::<f32>() * 2.0 - 1.0) * bound)
            .collect();
        if let Init::Categories { unseen_ids, .. } = &self.init {
            let width = self.shape[1];
            unseen_ids
                .iter()
                .for_each(|id| values[id * width..][..width].fill(0.0));
        }
        values
    }
}

/// What a parameter is before training.
#[derive(Debug, Clone, PartialEq)]
pub enum Init {
    /// Uniform in ±bound.
    Uniform {
        /// Half the width of the interval.
        bound: f32,
    },
    /// As `Uniform`, but the rows of unseen categories are zero.
    Categories {
        /// Half the width of the interval.
        bound: f32,
        /// Those rows.
        unseen_ids: Vec<usize>,
    },
}

/// Features as tensors.
#[derive(Debug, Clone)]
pub struct Input {
    /// Number of rows.
    pub rows: usize,
    /// `[rows, numbers]`, if there are numbers.
    pub numbers: Option<Tensor>,
    /// `[rows * categories]`, if there are categories.
    pub categories: Option<Tensor>,
}

impl Input {
    /// The rows of `features` in this type on this device.
    pub fn new(features: &Features, dtype: DType, device: &Device) -> Result<Self> {
        let rows = features.rows;
        let per_row = |values: usize| values / rows.max(1);
        let numbers = match per_row(features.numbers.len()) {
            0 => None,
            width => Some(
                features
                    .numbers
                    .tensor((rows, width), device)?
                    .to_dtype(dtype)?,
            ),
        };
        let categories = match features.categories.len() {
            0 => None,
            length => Some(Tensor::from_slice(&features.categories, length, device)?),
        };
        Ok(Self {
            rows,
            numbers,
            categories,
        })
    }
}

/// Everything about a trained model but its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The version of this description.
    pub format_version: u32,
    /// Inputs and label.
    pub signature: Signature,
    /// How features become tensors.
    pub encoders: Vec<ColumnEncoder>,
    /// How outputs become labels.
    pub labels: Labels,
    /// How it was trained.
    pub options: TrainOptions,
}

/// A trained model: record batches in, predictions out.
pub struct Model {
    config: ModelConfig,
    encoder: Encoder,
    network: Box<dyn Network>,
    parameters: Vec<Tensor>,
    precision: Precision,
}

impl Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("model_type", &self.config.options.model_type)
            .finish_non_exhaustive()
    }
}

/// What a model says of a batch.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// The predicted label of each row, in the label's own type; NULL where a feature is NULL.
    pub label: ArrayRef,
    /// For each row a list of (label, probability), descending; classifiers only, and only if asked for.
    pub probabilities: Option<ArrayRef>,
    /// Rows with a NULL feature.
    pub null_rows: usize,
    /// Category values that training did not see.
    pub unseen: usize,
    /// Rows that cannot be predicted, ascending, with the cause.
    pub failures: Vec<(usize, String)>,
    /// The first column with a NULL.
    pub null_column: Option<String>,
}

/// What a model says of rows whose label is known, for metrics.
#[derive(Debug, Clone, Default)]
pub struct Scored {
    /// The class of each row, `None` if training did not see it; empty for a regressor.
    pub classes: Vec<Option<u32>>,
    /// The predicted class of each row.
    pub predicted_classes: Vec<u32>,
    /// Row-major `[rows, classes]`.
    pub probabilities: Vec<f64>,
    /// The label of each row; empty for a classifier.
    pub numbers: Vec<f64>,
    /// The predicted number of each row.
    pub predicted_numbers: Vec<f64>,
    /// Rows left out for a NULL in a feature or the label.
    pub null_rows: usize,
}

/// Which outputs of a model are wanted, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// Whether to give probabilities.
    pub probabilities: bool,
    /// With two classes, the probability from which the larger one is predicted.
    pub threshold: f64,
    /// How many probabilities to keep, the most probable first; all if `None`.
    pub top_k: Option<usize>,
}

impl Model {
    /// A model from its description and its weights, flat in the order of the network's parameters.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the number of weights is not the network's.
    pub fn new(config: ModelConfig, model_type: &dyn ModelType, weights: &[f64]) -> Result<Self> {
        let precision = model_type.precision();
        let encoder = Encoder::new(config.encoders.clone(), precision);
        let network = model_type.network(encoder.shape(), config.labels.outputs(), &config.options);
        let expected: usize = network.parameters().iter().map(Parameter::len).sum();
        if expected != weights.len() {
            return Err(Error::Corrupt(format!(
                "{} weights where the model has {expected}",
                weights.len()
            )));
        }
        Ok(Self {
            parameters: tensors_of(network.parameters(), weights, precision)?,
            config,
            encoder,
            network,
            precision,
        })
    }

    /// The description.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The network.
    pub fn network(&self) -> &dyn Network {
        self.network.as_ref()
    }

    /// The weights, in the order of the network's parameters.
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// Memory of the weights in bytes.
    pub fn bytes(&self) -> usize {
        self.parameters
            .iter()
            .map(|tensor| tensor.elem_count() * tensor.dtype().size_in_bytes())
            .sum()
    }

    /// Predicts the rows of `batch`, whose columns are the features in the order of the signature, in its types or in
    /// others that hold the same values.
    pub fn predict(&self, batch: &RecordBatch, wanted: Wanted) -> Result<Prediction> {
        let features = self.encoder.encode(batch, None)?;
        let outputs = self.outputs(&features)?;
        let valid = features.valid.as_ref();
        let null_rows = valid.map_or(0, NullBuffer::null_count) - features.failures.len();
        let (label, probabilities) = match &self.config.labels {
            Labels::Number { mean, std } => {
                let values = outputs
                    .iter()
                    .map(|&output| output * std + mean)
                    .collect::<Vec<f64>>();
                let values: ArrayRef = Arc::new(Float64Array::new(values.into(), valid.cloned()));
                (values, None)
            }
            Labels::Classes { .. } => {
                let probabilities = probabilities(&outputs, self.config.labels.class_count());
                let labels = &self.config.labels;
                // Of NaN no class is the most probable; to name one would be a guess.
                let is_known = |row: &[f64]| row.iter().all(|probability| !probability.is_nan());
                let known: NullBuffer = probabilities
                    .chunks(labels.class_count())
                    .map(is_known)
                    .collect();
                let valid =
                    NullBuffer::union(valid, Some(&known).filter(|known| known.null_count() > 0));
                let valid = valid.as_ref();
                let data_type = &self.config.signature.target.data_type;
                let predicted = labels.predict(&probabilities, wanted.threshold);
                let label = labels.to_array(&predicted, valid, data_type)?;
                let lists = match wanted.probabilities {
                    true => Some(labels.probability_lists(
                        &probabilities,
                        valid,
                        wanted.top_k,
                        data_type,
                    )?),
                    false => None,
                };
                (label, lists)
            }
        };
        Ok(Prediction {
            label,
            probabilities,
            null_rows,
            unseen: features.unseen,
            failures: features.failures,
            null_column: features.null_column,
        })
    }

    /// Predicts the rows of `batch` beside their labels. Rows with a NULL are left out.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a row cannot be predicted.
    pub fn score(&self, batch: &RecordBatch, label: &ArrayRef) -> Result<Scored> {
        let mut features = self.encoder.encode(batch, None)?;
        if let Some((_, cause)) = features.failures.first() {
            return Err(Error::Invalid(cause.clone()));
        }
        let valid = NullBuffer::union(features.valid.as_ref(), label.logical_nulls().as_ref());
        let keep: Vec<u32> = match &valid {
            Some(valid) => valid.valid_indices().map(|row| row as u32).collect(),
            None => (0..features.rows as u32).collect(),
        };
        let null_rows = features.rows - keep.len();
        if null_rows > 0 {
            features = features.gather(&keep);
        }
        let outputs = self.outputs(&features)?;
        let rows = || keep.iter().map(|&row| row as usize);
        let mut scored = Scored {
            null_rows,
            ..Scored::default()
        };
        match &self.config.labels {
            Labels::Number { mean, std } => {
                let labels = numbers(label)?;
                scored.numbers = rows().map(|row| labels.value(row)).collect();
                scored.predicted_numbers =
                    outputs.iter().map(|&output| output * std + mean).collect();
            }
            known @ Labels::Classes { values } => {
                let labels = class_values(label)?;
                scored.classes = rows()
                    .map(|row| labels[row].as_ref().and_then(|label| known.position(label)))
                    .collect();
                scored.probabilities = probabilities(&outputs, values.len());
                scored.predicted_classes = known.predict(&scored.probabilities, 0.5);
            }
        }
        Ok(scored)
    }

    /// The network's outputs, row-major; computed some rows at a time, so that what lies between the layers stays in the
    /// cache of a core.
    fn outputs(&self, features: &Features) -> Result<Vec<f64>> {
        let mut outputs = Vec::with_capacity(features.rows * self.config.labels.outputs());
        for start in (0..features.rows).step_by(CHUNK_ROWS) {
            let chunk = features.slice(start..features.rows.min(start + CHUNK_ROWS));
            let network = self.network.as_ref();
            outputs.extend(forward(network, &self.parameters, &chunk, self.precision)?);
        }
        Ok(outputs)
    }
}

/// The outputs of a network outside of training, row-major.
pub(crate) fn forward(
    network: &dyn Network,
    parameters: &[Tensor],
    features: &Features,
    precision: Precision,
) -> Result<Vec<f64>> {
    let input = Input::new(features, precision.dtype(), &Device::Cpu)?;
    let outputs = network.forward(parameters, &input, None)?;
    Ok(outputs.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// Logits to probabilities, row-major `[rows, classes]`; one logit a row if there are two classes.
pub fn probabilities(logits: &[f64], classes: usize) -> Vec<f64> {
    let mut values = Vec::with_capacity(logits.len() * 2);
    if classes == 2 {
        for &logit in logits {
            // Both from one exponential, which cannot overflow.
            let smaller = (-logit.abs()).exp();
            let (likely, unlikely) = (1.0 / (1.0 + smaller), smaller / (1.0 + smaller));
            values.extend(match logit < 0.0 {
                true => [likely, unlikely],
                false => [unlikely, likely],
            });
        }
        return values;
    }
    values.extend(logits);
    values.chunks_exact_mut(classes.max(1)).for_each(|row| {
        softmax(row);
    });
    values
}
