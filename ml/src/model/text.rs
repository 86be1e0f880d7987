//! [`TextModel`]: a network behind an encoder of texts, as TRAIN makes it from an encoder.
//!
//! ```text
//!                          ┌ frozen ─ base ─▶ vectors ─ standardised ─┐
//! text ─ base's tokens ────┤                                          ├─ network ─▶ outputs
//!                          └ else ────────────────────────────────────┘  (with the encoder in it)
//! ```

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use candle_core::{DType, Tensor};

use crate::data::encode::shape::InputShape;
use crate::data::inputs::{Inputs, RowReport};
use crate::data::labels::outputs_of;
use crate::data::signature::{Port, PortKind, Signature};
use crate::model::compute::ComputeType;
use crate::model::network::{Mode, ModelType, Network};
use crate::model::options::{Freeze, TrainOptions};
use crate::model::passes::in_passes_of;
use crate::model::text_base::TextBase;
use crate::model::tokens::Tokens;
use crate::model::trained::{ModelConfig, TrainedModel, one_head};
use crate::model::vectors::vector_column;
use crate::model::{Batching, Model, Outputs, Wanted};
use crate::{Error, Result};

/// The network of a model: that of its type, or one with the encoder that it starts from.
///
/// # Errors
/// Those of [`ModelType::network`] and [`TextBase::network`].
pub(crate) fn network_of(
    base: Option<&dyn Model>,
    model_type: &dyn ModelType,
    (shape, outputs): (&InputShape, usize),
    options: &TrainOptions,
) -> Result<Box<dyn Network>> {
    let encoder = base.and_then(Model::text_base);
    match encoder.filter(|_| options.text.freeze != Freeze::Encoder) {
        Some(encoder) => encoder.network(shape.numbers, outputs, options),
        None => model_type.network(shape, outputs, options),
    }
}

/// A network behind an encoder of texts.
#[derive(Debug)]
pub struct TextModel {
    base: Arc<dyn Model>,
    trained: TrainedModel,
    signature: Signature,
}

impl TextModel {
    /// A trained network behind the encoder that its training started from.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the base is no encoder of texts, or the network does not take one text.
    pub fn new(base: Arc<dyn Model>, trained: TrainedModel) -> Result<Self> {
        if base.text_base().is_none() {
            return Err(Error::Corrupt("the base model encodes no texts".into()));
        }
        let mut signature = trained.signature().clone();
        let [input] = signature.inputs.as_mut_slice() else {
            return Err(Error::Corrupt(format!(
                "a model of texts with {} inputs",
                signature.inputs.len()
            )));
        };
        *input = Port {
            name: std::mem::take(&mut input.name),
            data_type: DataType::Utf8,
            kind: PortKind::Text,
        };
        // A network with the encoder in it has the encoder's tensors as they are now.
        let reader = match trained.config().options.text.freeze {
            Freeze::Encoder => None,
            Freeze::Embeddings | Freeze::None => base.text_reader(trained.network()),
        };
        Ok(Self {
            base: reader.unwrap_or(base),
            trained,
            signature,
        })
    }

    /// The description of the network.
    pub fn config(&self) -> &ModelConfig {
        self.trained.config()
    }

    fn encoder(&self) -> Result<&dyn TextBase> {
        let missing = || Error::Internal("a model of texts without its encoder".into());
        self.base.text_base().ok_or_else(missing)
    }

    /// The outputs of a network behind an encoder that stays as it is.
    fn behind_vectors(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        let pooling = self.config().options.text.pooling;
        let vectors = self.encoder()?.vectors(inputs, pooling)?;
        let column = vector_column(&vectors, None)?;
        let batch = RecordBatch::try_from_iter([("text", column)])?;
        self.trained.forward(&self.trained.encode(&batch)?)
    }

    /// The outputs of a network with the encoder in it.
    fn of_tokens(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        let (network, weights) = (self.trained.network(), self.trained.parameters());
        let computed = in_passes_of(self.encoder()?.passes(inputs)?, |range| {
            let inputs = inputs.narrow(range)?;
            let outputs = network.forward(weights, &inputs, Mode::Inference)?;
            Ok(vec![one_head(outputs)?.to_dtype(DType::F64)?])
        })?;
        if computed.is_empty() {
            let outputs = outputs_of(&self.config().labels);
            let empty = Tensor::zeros((0, outputs), DType::F64, self.trained.device())?;
            return Ok(vec![empty]);
        }
        Ok(computed)
    }
}

impl Model for TextModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn batching(&self) -> Batching {
        match (self.base.batching(), self.signature.inputs.first()) {
            (Batching::Tokens { tokens_max, .. }, Some(port)) => Batching::Tokens {
                input: port.name.clone(),
                tokens_max,
            },
            (batching, _) => batching,
        }
    }

    fn compute_type(&self) -> ComputeType {
        self.trained.compute_type()
    }

    fn tokens(&self) -> Option<&dyn Tokens> {
        self.base.tokens()
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        self.base.encode(batch)
    }

    fn encoding_bytes(&self, batch: &RecordBatch) -> usize {
        self.base.encoding_bytes(batch)
    }

    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        match self.config().options.text.freeze {
            Freeze::Encoder => self.behind_vectors(inputs),
            Freeze::Embeddings | Freeze::None => self.of_tokens(inputs),
        }
    }

    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs> {
        self.trained.outputs(computed, report, wanted)
    }

    fn bytes(&self) -> usize {
        self.base.bytes() + self.trained.bytes()
    }

    fn working_bytes(&self, rows: usize) -> usize {
        let of_base = self.base.working_bytes(rows);
        match self.config().options.text.freeze {
            Freeze::Encoder => of_base + self.trained.working_bytes(rows),
            Freeze::Embeddings | Freeze::None => of_base,
        }
    }
}
