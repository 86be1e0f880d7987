//! [`EmbeddingModel`]: an encoder of texts as a model, whose output is a vector for each text.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use candle_core::{DType, Device, Tensor};

use super::inputs::{BATCH_TOKENS, in_token_passes, of_rows};
use super::modules::{Modules, SentenceHead};
use super::parts::{TextBody, TextParts};
use super::pooling::Pooling;
use super::prompts;
use crate::data::coerce::coerced;
use crate::data::inputs::{Inputs, RowReport};
use crate::data::signature::{Port, PortKind, Signature};
use crate::model::compute::ComputeType;
use crate::model::{Batching, Model, Outputs, Prompt, Wanted};
use crate::pretrained::family::Source;
use crate::pretrained::vectors::{vector_port, vectors};
use crate::{Error, Result, stop};

/// The column that a model of texts takes.
pub(crate) const TEXT: &str = "text";
/// The memory that a byte of a text takes while it is split into tokens, in bytes: it is there twice, with the place of each byte in
/// the text as it was.
const SPLITTING_BYTES: usize = 40;
/// The number and the type of a token, as a list and as a tensor.
const TOKEN_BYTES: usize = 4 * size_of::<u32>();
/// More of a text is not split, for each token that a model takes.
const SPLIT_BYTES_MAX: usize = 256;

/// An encoder of texts with its weights.
#[derive(Debug)]
pub(crate) struct EmbeddingModel {
    signature: Signature,
    body: TextBody,
    head: SentenceHead,
    prompts: Vec<Prompt>,
    facts: Vec<(String, String)>,
    device: Device,
    bytes: usize,
}

impl EmbeddingModel {
    /// A model of these parts, with what `modules` has behind the encoder; without, the mean of the vectors of tokens.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for parts that do not fit, and for tensors that nothing takes.
    pub(crate) fn open(
        source: &Source<'_>,
        parts: TextParts<'_>,
        modules: Option<&Modules>,
    ) -> Result<Arc<dyn Model>> {
        let width = parts.body.encoder.width();
        parts.finish(&source.architecture)?;
        let head = match modules {
            Some(modules) => modules.head(source.root, width, source.device)?,
            None => SentenceHead::of_pooling(Pooling::mean(), width),
        };
        let note = match modules {
            Some(_) => "",
            None => ", since no modules.json says anything else",
        };
        let pooling = head.pooling().description();
        let facts = [
            ("architecture", source.architecture.clone()),
            ("pooling", format!("{pooling}{note}")),
            ("tokens_max", parts.body.tokenizer.tokens_max().to_string()),
        ];
        let text = Port {
            name: TEXT.into(),
            data_type: DataType::Utf8,
            kind: PortKind::Text,
        };
        Ok(Arc::new(Self {
            signature: Signature {
                inputs: vec![text],
                outputs: vec![vector_port(head.width())],
            },
            prompts: prompts::read(source.root)?,
            facts: Vec::from(facts.map(|(name, value)| (name.to_owned(), value))),
            device: source.device.clone(),
            bytes: parts.tensors.bytes() + head.bytes(),
            body: parts.body,
            head,
        }))
    }
}

impl Model for EmbeddingModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn batching(&self) -> Batching {
        Batching::Tokens {
            input: TEXT.into(),
            tokens_max: BATCH_TOKENS,
        }
    }

    fn compute_type(&self) -> ComputeType {
        ComputeType::F32
    }

    fn prompts(&self) -> Vec<Prompt> {
        self.prompts.clone()
    }

    fn facts(&self) -> Vec<(String, String)> {
        self.facts.clone()
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        let default = self.prompts.iter().find(|prompt| prompt.is_default);
        self.encode_with_prompt(batch, default.map_or("", |prompt| &prompt.text))
    }

    fn encode_with_prompt(&self, batch: &RecordBatch, prompt: &str) -> Result<Inputs> {
        let schema = batch.schema_ref();
        let name = schema.field(0).name();
        let (texts, _) = coerced(name, batch.column(0), &DataType::Utf8)?;
        let texts = texts.as_string::<i32>();
        let mut rows = Vec::with_capacity(texts.len());
        for row in 0..texts.len() {
            stop::check()?;
            let text = texts.is_valid(row).then(|| texts.value(row));
            let tokens = text.map(|text| self.body.tokenizer.tokens_with(prompt, text));
            rows.push(tokens.transpose());
        }
        of_rows(name, rows, &format!("column \"{name}\" holds no text"))
    }

    fn encoding_bytes(&self, batch: &RecordBatch) -> usize {
        let column = batch.column(0);
        let of_column = column.to_data().get_slice_memory_size();
        let bytes = of_column.unwrap_or_else(|_| column.get_array_memory_size());
        let longest = self.body.tokenizer.tokens_max();
        let rows = batch.num_rows();
        // A token has a byte of text, or is added to it.
        let tokens = rows
            .saturating_mul(longest)
            .min(bytes.saturating_add(4 * rows));
        let split = bytes.min(longest.saturating_mul(SPLIT_BYTES_MAX));
        tokens * TOKEN_BYTES + split * SPLITTING_BYTES
    }

    /// The vectors `[rows, width]`.
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        if inputs.rows() == 0 {
            let empty = Tensor::zeros((0, self.head.width()), DType::F32, &self.device)?;
            return Ok(vec![empty]);
        }
        in_token_passes(inputs, &self.device, |tokens| {
            let hidden = match tokens.sequences.tokens() {
                0 => Tensor::zeros((0, self.body.encoder.width()), DType::F32, &self.device)?,
                _ => self.body.encoder.hidden(tokens)?,
            };
            Ok(vec![self.head.forward(&hidden, &tokens.sequences)?])
        })
    }

    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs> {
        let [embeddings] = computed else {
            let heads = computed.len();
            return Err(Error::Internal(format!(
                "{heads} outputs of a model of texts"
            )));
        };
        let column = vectors(embeddings, report.valid.as_ref())?;
        Ok(Outputs {
            columns: vec![column; wanted.outputs.len()],
            scores: vec![],
            report,
        })
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn working_bytes(&self, rows: usize) -> usize {
        // A vector as a tensor and as a column.
        let of_row = 2 * self.head.width() * size_of::<f32>();
        self.body.working_bytes(&self.device, rows) + rows * of_row
    }
}
