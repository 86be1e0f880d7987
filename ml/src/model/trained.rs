//! [`TrainedModel`]: a network with the weights that training found.

use std::fmt::{self, Debug};
use std::ops::Range;

use arrow::array::RecordBatch;
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::data::columns::{Column, Columns, FeatureKind};
use crate::data::encode::column::ColumnEncoder;
use crate::data::encode::tabular::Encoder;
use crate::data::heads;
use crate::data::inputs::{Inputs, RowReport};
use crate::data::labels::{LabelForm, Labels, outputs_of};
use crate::data::signature::{Port, PortKind, Signature, Values};
use crate::device::pass_rows;
use crate::device::products::with_tf32;
use crate::model::compute::{ComputeType, LoadOptions};
use crate::model::flat::{numbers_per_row, tensors_of};
use crate::model::network::{LayerSummary, Mode, ModelType, Network, Parameter};
use crate::model::options::TrainOptions;
use crate::model::passes::in_passes;
use crate::model::predicted::{Predicted, predicted_types};
use crate::model::recommender::{Recommender, Side, Sides};
use crate::model::{Batching, Model, Outputs, Wanted};
use crate::{Error, Result};

/// Everything about a trained model except its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The version of the format.
    pub format_version: u32,
    /// Features and targets.
    #[serde(rename = "signature")]
    pub columns: Columns,
    /// How features become tensors.
    pub encoders: Vec<ColumnEncoder>,
    /// How outputs become labels, for each target.
    #[serde(with = "crate::data::one_or_more")]
    pub labels: Vec<Labels>,
    /// The options of the training.
    pub options: TrainOptions,
    /// What stands for a NULL in each category of each feature, as the position of a value of its vocabulary, if the training
    /// imputed: the most frequent value. Numbers have their mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imputed: Option<Vec<Vec<Option<u32>>>>,
}

impl ModelConfig {
    /// The inputs and outputs: the features; for each target `predicted_<target>` and, if it has classes,
    /// `predicted_<target>_probs`.
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
    labels: &[Labels],
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
    let targets = columns.targets.iter().zip(labels);
    let outputs = targets.flat_map(|(target, labels)| output_ports(target, labels));
    Ok(Signature {
        inputs: inputs.collect::<Result<_>>()?,
        outputs: outputs.collect(),
    })
}

/// The outputs for a target: its prediction, then the probabilities if it has classes.
pub(crate) fn output_ports(target: &Column, labels: &Labels) -> Vec<Port> {
    let (data_type, probabilities) = predicted_types(labels, &target.data_type);
    let name = format!("predicted_{}", target.name);
    let probabilities = probabilities.map(|data_type| Port {
        name: format!("{name}_probs"),
        data_type,
        kind: PortKind::Probabilities {
            target: target.name.clone(),
        },
    });
    let label = Port {
        name,
        data_type,
        kind: PortKind::Label {
            target: target.clone(),
            classes: labels.classes().to_vec(),
            values: match labels.form() {
                LabelForm::Vector(length) => Values::Vector(length),
                LabelForm::Set(_) => Values::Set,
                LabelForm::Number | LabelForm::Class(_) => Values::One,
            },
        },
    };
    std::iter::once(label).chain(probabilities).collect()
}

/// A trained model on a device.
pub struct TrainedModel {
    config: ModelConfig,
    signature: Signature,
    /// The target of each output of the signature.
    targets: Vec<usize>,
    encoder: Encoder,
    network: Box<dyn Network>,
    parameters: Vec<Tensor>,
    towers: TowerEncoders,
    compute: ComputeType,
    device: Device,
}

/// How the columns of users and of items become inputs; both are empty unless the network has towers.
#[derive(Debug)]
pub(crate) struct TowerEncoders {
    sides: Sides,
    users: Encoder,
    items: Encoder,
}

impl TowerEncoders {
    pub(crate) fn sides(&self) -> &Sides {
        &self.sides
    }

    pub(crate) fn encoder(&self, side: Side) -> &Encoder {
        match side {
            Side::User => &self.users,
            Side::Item => &self.items,
        }
    }
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
        let encoder = Encoder::new(config.encoders.clone(), model_type.precision());
        let outputs = outputs_of(&config.labels);
        let network = model_type.network(encoder.shape(), outputs, &config.options)?;
        Self::of_network(config, model_type, network, weights, options)
    }

    /// A model with this network, which is not that of its type if a base makes it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the number of weights does not match the network.
    pub(crate) fn of_network(
        config: ModelConfig,
        model_type: &dyn ModelType,
        network: Box<dyn Network>,
        weights: &[f64],
        options: &LoadOptions,
    ) -> Result<Self> {
        let precision = model_type.precision();
        let compute = options.compute.unwrap_or(precision.into());
        let device = &options.device;
        let encoder = Encoder::new(config.encoders.clone(), precision)
            .with_ids(|column| model_type.ids(&config.options, column));
        let expected: usize = network.parameters().iter().map(Parameter::len).sum();
        if expected != weights.len() {
            return Err(Error::Corrupt(format!(
                "{} weights, the model has {expected}",
                weights.len()
            )));
        }
        check_imputed(&config)?;
        let sides = model_type.sides(&config.columns, &config.options);
        let sides = sides.unwrap_or_default();
        let towers = TowerEncoders {
            users: encoder.part(&sides.users),
            items: encoder.part(&sides.items),
            sides,
        };
        let ports = config
            .labels
            .iter()
            .enumerate()
            .flat_map(|(target, labels)| {
                let ports = 1 + usize::from(!labels.classes().is_empty());
                std::iter::repeat_n(target, ports)
            });
        Ok(Self {
            targets: ports.collect(),
            parameters: tensors_of(network.parameters(), weights, compute.dtype(), device)?,
            signature: config.signature()?,
            config,
            encoder,
            towers,
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

    /// How its columns become inputs of the network.
    pub(crate) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// How the columns of users and of items become inputs.
    pub(crate) fn towers(&self) -> &TowerEncoders {
        &self.towers
    }

    /// The values of the parameters of the network, in their order.
    pub(crate) fn parameters(&self) -> &[Tensor] {
        &self.parameters
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

    /// The predictions of each target, `None` where no output of the target is read.
    fn predicted(
        &self,
        outputs: &[f64],
        report: &RowReport,
        wanted: &Wanted,
    ) -> Vec<Option<Predicted<'_>>> {
        let labels = &self.config.labels;
        let width = outputs_of(labels);
        let ranges = heads::ranges(labels.iter().map(Labels::outputs));
        let targets = self.config.columns.targets.iter().zip(labels).zip(ranges);
        let mut predicted = Vec::with_capacity(labels.len());
        for (at, ((target, labels), range)) in targets.enumerate() {
            let mut read = wanted.outputs.iter().map(|port| self.targets[*port]);
            let is_read = wanted.scores || read.any(|target| target == at);
            predicted.push(is_read.then(|| {
                let outputs = heads::columns(outputs, width, range);
                Predicted::new(labels, &target.data_type, &outputs, report.valid.as_ref())
            }));
        }
        predicted
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

    fn recommender(&self) -> Option<&dyn Recommender> {
        match self.network.towers() {
            Some(_) => Some(self),
            None => None,
        }
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        self.encoder.encode(batch, self.config.imputed.as_deref())
    }

    fn encoding_bytes(&self, batch: &RecordBatch) -> usize {
        self.encoder.decoding_bytes(batch)
    }

    /// The network's outputs `[rows, outputs]` (f64), computed some rows at a time, so that they fit into memory.
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        let rows = inputs.rows();
        #[cfg(feature = "cuda")]
        crate::device::count_pass(&self.device)?;
        let pass = |range: Range<usize>| -> Result<Vec<Tensor>> {
            let inputs = inputs.narrow(range)?.to(&self.device, self.input_type())?;
            let forward = || {
                self.network
                    .forward(&self.parameters, &inputs, Mode::Inference)
            };
            let outputs = with_tf32(self.compute == ComputeType::Tf32, forward)?;
            Ok(vec![one_head(outputs)?.to_dtype(DType::F64)?])
        };
        let numbers = numbers_per_row(self.network.as_ref(), inputs);
        let computed = in_passes(rows, pass_rows(&self.device, numbers), pass)?;
        if computed.is_empty() {
            let outputs = outputs_of(&self.config.labels);
            let empty = Tensor::zeros((0, outputs), DType::F64, &self.device)?;
            return Ok(vec![empty]);
        }
        Ok(computed)
    }

    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs> {
        let [outputs] = computed else {
            return Err(Error::Internal(format!(
                "{} heads of a network",
                computed.len()
            )));
        };
        let outputs: Vec<f64> = outputs.flatten_all()?.to_vec1()?;
        let report = match wanted.imputes && self.config.imputed.is_some() {
            true => report.imputed(),
            false => report,
        };
        let predicted = self.predicted(&outputs, &report, wanted);
        let column = |port: &usize| {
            let unread = || Error::Internal("an output of a target that is not read".into());
            let predicted = predicted[self.targets[*port]].as_ref().ok_or_else(unread)?;
            predicted.column(&self.signature.outputs[*port].kind, wanted)
        };
        let columns = wanted.outputs.iter().map(column).collect::<Result<_>>()?;
        let scores = match wanted.scores {
            true => predicted
                .into_iter()
                .flatten()
                .flat_map(|of| of.scores)
                .collect(),
            false => vec![],
        };
        Ok(Outputs {
            columns,
            scores,
            report,
        })
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
        let labels = self.config.labels.iter();
        let outputs = labels.map(|of| of.form().scores()).sum::<usize>() * 4 * size_of::<f64>();
        self.encoder.bytes(rows) + between + rows * outputs
    }
}

/// Checks that there is a value for each category.
fn check_imputed(config: &ModelConfig) -> Result<()> {
    let Some(imputed) = &config.imputed else {
        return Ok(());
    };
    let mut columns = config.encoders.iter().zip(imputed);
    let fits = columns.all(|(encoder, values)| values.len() >= encoder.vocabularies.len());
    match fits && imputed.len() == config.encoders.len() {
        true => Ok(()),
        false => Err(Error::Corrupt(
            "the values that stand for NULL are not those of the features".into(),
        )),
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

/// The outputs of a network, in which each target has columns: its head.
pub(crate) fn one_head(mut outputs: Vec<Tensor>) -> Result<Tensor> {
    match (outputs.pop(), outputs.len()) {
        (Some(output), 0) => Ok(output),
        (_, others) => Err(Error::Internal(format!(
            "the network has {} outputs; the targets of a model share one",
            others + 1
        ))),
    }
}
