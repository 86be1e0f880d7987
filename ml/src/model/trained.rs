//! [`TrainedModel`]: a network with the weights that training found.

use std::fmt::{self, Debug};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use arrow::buffer::NullBuffer;
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::data::columns::{Columns, FeatureKind};
use crate::data::encode::tabular::{ColumnEncoder, Encoder};
use crate::data::inputs::{Inputs, RowReport};
use crate::data::labels::{
    Labels, class_array, predicted_classes, probabilities_type, probability_lists,
};
use crate::data::signature::{Port, PortKind, Signature};
use crate::device::pass_rows;
use crate::device::products::with_tf32;
use crate::model::compute::{ComputeType, LoadOptions};
use crate::model::flat::{numbers_per_row, tensors_of};
use crate::model::network::{LayerSummary, Mode, ModelType, Network, Parameter};
use crate::model::options::TrainOptions;
use crate::model::{Batching, Model, Outputs, Wanted};
use crate::nn::softmax;
use crate::{Error, Result, stop};

/// Everything about a trained model except its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The version of the format.
    pub format_version: u32,
    /// Features and label.
    #[serde(rename = "signature")]
    pub columns: Columns,
    /// How features become tensors.
    pub encoders: Vec<ColumnEncoder>,
    /// How outputs become labels.
    pub labels: Labels,
    /// The options of the training.
    pub options: TrainOptions,
}

impl ModelConfig {
    /// The inputs and outputs: the features; `predicted_<label>` and, for a classifier, `predicted_<label>_probs`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a type that cannot be a feature.
    pub fn signature(&self) -> Result<Signature> {
        let widths = self.encoders.iter().map(|encoder| encoder.numbers.len());
        signature(&self.columns, widths, &self.labels)
    }
}

/// The signature of a model of these columns; `widths` holds the numbers per row of each feature.
///
/// # Errors
/// [`Error::Unsupported`] for a type that cannot be a feature.
pub fn signature(
    columns: &Columns,
    widths: impl IntoIterator<Item = usize>,
    labels: &Labels,
) -> Result<Signature> {
    let inputs = columns.features.iter().zip(widths);
    let inputs = inputs.map(|(column, width)| {
        let kind = FeatureKind::of(&column.name, &column.data_type)?;
        Ok(Port {
            name: column.name.clone(),
            data_type: column.data_type.clone(),
            kind: PortKind::of_feature(kind, width),
        })
    });
    let target = &columns.target;
    let classes = labels.classes();
    let label_type = match labels {
        Labels::Number { .. } | Labels::Count { .. } => arrow::datatypes::DataType::Float64,
        Labels::Classes { .. } => target.data_type.clone(),
    };
    let name = format!("predicted_{}", target.name);
    let mut outputs = vec![];
    let probabilities = Port {
        name: format!("{name}_probs"),
        data_type: probabilities_type(&label_type),
        kind: PortKind::Probabilities {
            target: target.name.clone(),
        },
    };
    outputs.push(Port {
        name,
        data_type: label_type,
        kind: PortKind::Label {
            target: target.clone(),
            classes: classes.to_vec(),
        },
    });
    if !classes.is_empty() {
        outputs.push(probabilities);
    }
    Ok(Signature {
        inputs: inputs.collect::<Result<_>>()?,
        outputs,
    })
}

/// A trained model on a device.
pub struct TrainedModel {
    config: ModelConfig,
    signature: Signature,
    encoder: Encoder,
    network: Box<dyn Network>,
    parameters: Vec<Tensor>,
    compute: ComputeType,
    device: Device,
}

impl Debug for TrainedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrainedModel")
            .field("model_type", &self.config.options.model_type)
            .finish_non_exhaustive()
    }
}

impl TrainedModel {
    /// A model from its configuration and its weights, flat in the order of the network's parameters.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the number of weights does not match the network.
    pub fn new(
        config: ModelConfig,
        model_type: &dyn ModelType,
        weights: &[f64],
        options: &LoadOptions,
    ) -> Result<Self> {
        let precision = model_type.precision();
        let compute = options.compute.unwrap_or(precision.into());
        let device = &options.device;
        let encoder = Encoder::new(config.encoders.clone(), precision)
            .with_ids(|column| model_type.ids(&config.options, column));
        let network =
            model_type.network(encoder.shape(), config.labels.outputs(), &config.options)?;
        let expected: usize = network.parameters().iter().map(Parameter::len).sum();
        if expected != weights.len() {
            return Err(Error::Corrupt(format!(
                "{} weights, the model has {expected}",
                weights.len()
            )));
        }
        Ok(Self {
            parameters: tensors_of(network.parameters(), weights, compute.dtype(), device)?,
            signature: config.signature()?,
            config,
            encoder,
            network,
            compute,
            device: device.clone(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device on which the model computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The network.
    pub fn network(&self) -> &dyn Network {
        self.network.as_ref()
    }

    /// The type of the numbers that reach the network. Numbers of 16 bits cannot hold all ids: bf16 rounds 257 to 256. So a
    /// network with ids takes numbers of 32 bits, and rounds those that are no ids itself.
    fn input_type(&self) -> DType {
        match self.compute {
            ComputeType::Bf16 | ComputeType::F16 if self.encoder.has_ids() => DType::F32,
            ComputeType::F32
            | ComputeType::F64
            | ComputeType::Tf32
            | ComputeType::Bf16
            | ComputeType::F16 => self.compute.dtype(),
        }
    }

    fn classes(&self, outputs: &[f64], wanted: &Wanted, report: RowReport) -> Result<Outputs> {
        let classes = self.config.labels.classes();
        let data_type = &self.config.columns.target.data_type;
        let probabilities = probabilities(outputs, classes.len());
        // With a NaN no class is the most probable; any class would be a guess.
        let is_known = |row: &[f64]| row.iter().all(|probability| !probability.is_nan());
        let known: NullBuffer = probabilities.chunks(classes.len()).map(is_known).collect();
        let known = Some(&known).filter(|known| known.null_count() > 0);
        let valid = NullBuffer::union(report.valid.as_ref(), known);
        let valid = valid.as_ref();
        let column = |port: &usize| match &self.signature.outputs[*port].kind {
            PortKind::Probabilities { .. } => {
                probability_lists(classes, &probabilities, valid, wanted.top_k, data_type)
            }
            _ => {
                let predicted = predicted_classes(&probabilities, classes.len(), wanted.threshold);
                class_array(classes, &predicted, valid, data_type)
            }
        };
        Ok(Outputs {
            columns: wanted.outputs.iter().map(column).collect::<Result<_>>()?,
            scores: if wanted.scores { probabilities } else { vec![] },
            report,
        })
    }
}

impl Model for TrainedModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn batching(&self) -> Batching {
        Batching::Rows
    }

    fn compute_type(&self) -> ComputeType {
        self.compute
    }

    fn layers(&self) -> Vec<LayerSummary> {
        self.network.layers()
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        self.encoder.encode(batch, None)
    }

    fn encoding_bytes(&self, batch: &RecordBatch) -> usize {
        self.encoder.decoding_bytes(batch)
    }

    /// The network's outputs `[rows, outputs]` (f64), computed some rows at a time, so that they fit into memory.
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        let rows = inputs.rows();
        #[cfg(feature = "cuda")]
        crate::device::count_pass(&self.device)?;
        let pass = |range: Range<usize>| {
            stop::check()?;
            let inputs = inputs.narrow(range)?.to(&self.device, self.input_type())?;
            let forward = || {
                self.network
                    .forward(&self.parameters, &inputs, Mode::Inference)
            };
            let outputs = with_tf32(self.compute == ComputeType::Tf32, forward)?;
            Ok(one_head(outputs)?.to_dtype(DType::F64)?)
        };
        let numbers = numbers_per_row(self.network.as_ref(), inputs);
        let pass_rows = pass_rows(&self.device, numbers);
        let starts = (0..rows).step_by(pass_rows);
        let passes = starts.map(|start| pass(start..rows.min(start + pass_rows)));
        let passes = passes.collect::<Result<Vec<Tensor>>>()?;
        Ok(vec![match passes.as_slice() {
            [] => Tensor::zeros((0, self.config.labels.outputs()), DType::F64, &self.device)?,
            [only] => only.clone(),
            several => Tensor::cat(several, 0)?,
        }])
    }

    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs> {
        let [outputs] = computed else {
            return Err(Error::Internal(format!(
                "{} heads of a network",
                computed.len()
            )));
        };
        let outputs: Vec<f64> = outputs.flatten_all()?.to_vec1()?;
        match &self.config.labels {
            Labels::Number { mean, std } => {
                let numbers = outputs.iter().map(|output| output * std + mean);
                Ok(of_numbers(numbers.collect(), wanted, report))
            }
            Labels::Count { mean } => {
                let counts = outputs.iter().map(|output| mean * output.exp());
                Ok(of_numbers(counts.collect(), wanted, report))
            }
            Labels::Classes { .. } => self.classes(&outputs, wanted, report),
        }
    }

    fn bytes(&self) -> usize {
        let of_tensor = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        self.parameters.iter().map(of_tensor).sum()
    }

    fn working_bytes(&self, rows: usize) -> usize {
        let number = self.compute.dtype().size_in_bytes();
        // Each layer has its own width, and its outputs exist at the same time as the outputs of the layer before.
        let widths = self.network.numbers_per_row();
        // On a GPU they take memory of the GPU.
        let between = match self.device.is_cpu() {
            true => {
                let at_once = rows.min(pass_rows(&self.device, widths));
                at_once * widths * number + self.network.scratch_bytes()
            }
            false => 0,
        };
        // A probability takes a number, a label and a position in a list.
        let outputs = self.config.labels.class_count().max(1) * 4 * size_of::<f64>();
        self.encoder.bytes(rows) + between + rows * outputs
    }
}

/// The outputs of a regressor, from numbers in the label's units.
fn of_numbers(numbers: Vec<f64>, wanted: &Wanted, report: RowReport) -> Outputs {
    let column = Float64Array::new(numbers.into(), report.valid.clone());
    let scores = match wanted.scores {
        true => column.values().to_vec(),
        false => vec![],
    };
    Outputs {
        columns: vec![Arc::new(column) as ArrayRef; wanted.outputs.len()],
        scores,
        report,
    }
}

/// The outputs of a network outside of training, row-major.
pub(crate) fn forward(
    network: &dyn Network,
    parameters: &[Tensor],
    inputs: &Inputs,
) -> Result<Vec<f64>> {
    let outputs = network.forward(parameters, inputs, Mode::Inference)?;
    let outputs = one_head(outputs)?;
    Ok(outputs.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// The outputs of a network that has one head.
pub(crate) fn one_head(mut outputs: Vec<Tensor>) -> Result<Tensor> {
    match (outputs.pop(), outputs.len()) {
        (Some(output), 0) => Ok(output),
        (_, others) => Err(Error::Internal(format!(
            "the network has {} heads; training supports one",
            others + 1
        ))),
    }
}

/// Logits to probabilities, row-major `[rows, classes]`; one logit per row if there are two classes.
pub fn probabilities(logits: &[f64], classes: usize) -> Vec<f64> {
    let mut values = Vec::with_capacity(logits.len() * 2);
    if classes == 2 {
        for &logit in logits {
            // Both probabilities come from one exponential, which cannot overflow.
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
