//! [`EmbeddingModel`]: an encoder of texts as a model, whose output is a vector for each text.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use candle_core::{DType, Device, Tensor};

use super::encoder::TextEncoder;
use super::inputs::{BATCH_TOKENS, in_token_passes, of_rows, rows_of_ids, token_passes};
use super::modules::{Modules, SentenceHead};
use super::parts::{TextParts, encoder_bytes};
use super::pooling::Pooling;
use super::prompts::{self, PROMPTS_FILE};
use super::spec::EncoderSpec;
use super::tensors::Wanted as WantedTensor;
use super::tokens::tokenizer::TextTokenizer;
use super::tuned::{Tuned, TunedNetwork, first_weights, frozen_bytes};
use crate::artifact::corrupt;
use crate::data::inputs::{Inputs, RowReport};
use crate::data::signature::{Port, PortKind, Signature};
use crate::model::compute::ComputeType;
use crate::model::network::Network;
use crate::model::options::{TextPooling, TrainOptions};
use crate::model::text_base::TextBase;
use crate::model::tokens::{TokenCount, Tokens};
use crate::model::{Batching, Model, Outputs, Prompt, Wanted};
use crate::pretrained::family::Source;
use crate::pretrained::text_rows::each_text;
use crate::pretrained::vectors::{vector_outputs, vector_port};
use crate::{Error, Result};

/// The column that a model of texts takes.
pub(crate) const TEXT: &str = "text";
/// The memory that a byte of a text takes while it is split into tokens, in bytes: it is there twice, with the place of each byte in
/// the text as it was.
const SPLITTING_BYTES: usize = 40;
/// The number and the type of a token, as a list and as a tensor.
const TOKEN_BYTES: usize = 4 * size_of::<u32>();
/// Tokens that a tokenizer adds to a text, about.
const ADDED_TOKENS: usize = 4;
/// More of a text is not split, for each token that a model takes.
const SPLIT_BYTES_MAX: usize = 256;

/// An encoder of texts with its weights, for a use.
#[derive(Debug)]
pub(crate) struct EmbeddingModel {
    own: Arc<Own>,
    /// The encoder; none if a network has its layers, for which this model only reads texts.
    encoder: Option<Arc<Encoder>>,
    /// The memory of tensors of the encoder that such a network has from this model, in bytes.
    lent_bytes: usize,
    /// What is put before each text.
    prompt: String,
    /// What is behind the encoder for texts with the prompt.
    head: Arc<SentenceHead>,
}

/// An encoder with its tensors.
#[derive(Debug)]
struct Encoder {
    layers: Box<dyn TextEncoder>,
    tensors: HashMap<WantedTensor, Tensor>,
    bytes: usize,
}

/// What all uses share.
#[derive(Debug)]
struct Own {
    signature: Signature,
    spec: EncoderSpec,
    /// The numbers of a vector that the encoder gives.
    width: usize,
    /// The beginning of the names of the encoder's tensors.
    base: &'static str,
    tokenizer: TextTokenizer,
    /// What is behind the encoder for texts without a prompt.
    head: Arc<SentenceHead>,
    prompts: Vec<Prompt>,
    facts: Vec<(String, String)>,
    device: Device,
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
        parts.finish(&source.architecture)?;
        let width = parts.encoder.width();
        let head = SentenceHead::of_modules(modules, source.root, (width, source.device))?;
        let note = match modules {
            Some(_) => "",
            None => ", since no modules.json says anything else",
        };
        let facts = [
            ("architecture", source.architecture.clone()),
            ("pooling", format!("{}{note}", head.pooling().description())),
            ("tokens_max", parts.limits.tokens.to_string()),
        ];
        let text = Port {
            name: TEXT.into(),
            data_type: DataType::Utf8,
            kind: PortKind::Text,
        };
        let file = parts.tokenizer_file;
        let prompts = prompts::read(source.root)?;
        let default = prompts.iter().find(|prompt| prompt.is_default);
        let prompt = default.map_or(String::new(), |prompt| prompt.text.clone());
        let own = Own {
            signature: Signature {
                inputs: vec![text],
                outputs: vec![vector_port(head.width())],
            },
            spec: parts.spec,
            width,
            base: parts.base,
            tokenizer: TextTokenizer::new(parts.tokenizer, file, parts.limits)?,
            head: Arc::new(head),
            prompts,
            facts: Vec::from(facts.map(|(name, value)| (name.to_owned(), value))),
            device: source.device.clone(),
        };
        let encoder = Encoder {
            layers: parts.encoder,
            bytes: parts.tensors.bytes(),
            tensors: parts.tensors.into_taken(),
        };
        let (own, encoder) = (Arc::new(own), Some(Arc::new(encoder)));
        Ok(Arc::new(Self::with_prompt(own, encoder, prompt)?))
    }

    /// The model with a prompt before each text.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a prompt that has no tokens, if pooling leaves its tokens out.
    fn with_prompt(own: Arc<Own>, encoder: Option<Arc<Encoder>>, prompt: String) -> Result<Self> {
        let head = match prompt.is_empty() || own.head.pooling().includes_prompt() {
            true => Arc::clone(&own.head),
            false => {
                let tokens = own.tokenizer.tokens_before(&prompt);
                let tokens = tokens.map_err(|cause| corrupt(PROMPTS_FILE, cause))?;
                Arc::new(own.head.skipping(tokens))
            }
        };
        Ok(Self {
            own,
            encoder,
            lent_bytes: 0,
            prompt,
            head,
        })
    }

    fn encoder(&self) -> Result<&Encoder> {
        let missing = || Error::Internal("a reader of texts without an encoder".into());
        self.encoder.as_deref().ok_or_else(missing)
    }

    /// The vectors of texts, with this head behind the encoder.
    fn computed(&self, inputs: &Inputs, head: &SentenceHead) -> Result<Vec<Tensor>> {
        let (layers, device) = (&self.encoder()?.layers, &self.own.device);
        if inputs.rows() == 0 {
            let empty = Tensor::zeros((0, head.width()), DType::F32, device)?;
            return Ok(vec![empty]);
        }
        in_token_passes(inputs, device, |tokens| {
            let hidden = match tokens.sequences.tokens() {
                0 => Tensor::zeros((0, layers.width()), DType::F32, device)?,
                _ => layers.hidden(tokens)?,
            };
            Ok(vec![head.forward(&hidden, &tokens.sequences)?])
        })
    }

    /// What comes behind the encoder: the head of the model's embeddings, or only pooling.
    fn head_of(&self, pooling: Option<TextPooling>) -> Arc<SentenceHead> {
        let pooling = match pooling {
            None => return Arc::clone(&self.head),
            Some(TextPooling::Mean) => Pooling::mean(),
            Some(TextPooling::Cls) => Pooling::first(),
        };
        let pooling = pooling.skipping(self.head.pooling().skipped());
        Arc::new(SentenceHead::of_pooling(pooling, self.own.width))
    }
}

impl Own {
    /// The text of the prompt of this name; none for the empty name.
    fn prompt(&self, name: &str) -> Result<String> {
        if name.is_empty() {
            return Ok(String::new());
        }
        let found = self.prompts.iter().find(|prompt| prompt.name == name);
        found.map(|prompt| prompt.text.clone()).ok_or_else(|| {
            let names: Vec<&str> = self.prompts.iter().map(|of| of.name.as_str()).collect();
            let known = match names.is_empty() {
                true => "it has none".to_owned(),
                false => format!("its prompts are {}", names.join(", ")),
            };
            Error::Invalid(format!("it has no prompt \"{name}\"; {known}"))
        })
    }
}

impl TextBase for EmbeddingModel {
    fn vectors(&self, inputs: &Inputs, pooling: Option<TextPooling>) -> Result<Tensor> {
        let mut computed = self.computed(inputs, &self.head_of(pooling))?;
        let missing = || Error::Internal("an encoder of texts without vectors".into());
        computed.pop().ok_or_else(missing)
    }

    fn ids(&self, inputs: &Inputs) -> Result<Vec<Vec<u32>>> {
        rows_of_ids(inputs)
    }

    fn passes(&self, inputs: &Inputs) -> Result<Vec<Range<usize>>> {
        token_passes(inputs, &self.own.device)
    }

    fn network(
        &self,
        tokens: usize,
        outputs: usize,
        options: &TrainOptions,
    ) -> Result<Box<dyn Network>> {
        let own = self.own.as_ref();
        let tuned = Tuned {
            spec: &own.spec,
            base: own.base,
            tensors: &self.encoder()?.tensors,
            head: self.head_of(options.text.pooling),
        };
        let network = TunedNetwork::new(&tuned, (tokens, outputs), options)?;
        Ok(Box::new(network))
    }

    fn weights(&self, network: &dyn Network, seed: u64) -> Result<Vec<f64>> {
        first_weights(&self.encoder()?.tensors, network, seed)
    }
}

impl Tokens for EmbeddingModel {
    fn tokens_max(&self) -> usize {
        self.own.tokenizer.text_tokens_max()
    }

    fn count(&self, text: &str) -> Result<TokenCount, String> {
        let tokens = self.own.tokenizer.tokens_with(&self.prompt, text)?;
        Ok(TokenCount {
            tokens: tokens.ids.len(),
            is_cut: tokens.is_cut,
        })
    }

    fn places(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        self.own.tokenizer.places(text)
    }
}

impl Model for EmbeddingModel {
    fn signature(&self) -> &Signature {
        &self.own.signature
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
        self.own.prompts.clone()
    }

    fn facts(&self) -> Vec<(String, String)> {
        self.own.facts.clone()
    }

    fn for_call(&self, wanted: &Wanted) -> Result<Option<Arc<dyn Model>>> {
        let Some(name) = &wanted.prompt else {
            return Ok(None);
        };
        let prompt = self.own.prompt(name)?;
        let (own, encoder) = (Arc::clone(&self.own), self.encoder.clone());
        let model = Self::with_prompt(own, encoder, prompt)?;
        Ok(Some(Arc::new(model)))
    }

    fn tokens(&self) -> Option<&dyn Tokens> {
        Some(self)
    }

    fn text_base(&self) -> Option<&dyn TextBase> {
        Some(self)
    }

    fn text_reader(&self, network: &dyn Network) -> Option<Arc<dyn Model>> {
        let encoder = self.encoder.as_deref();
        Some(Arc::new(Self {
            own: Arc::clone(&self.own),
            encoder: None,
            lent_bytes: encoder.map_or(0, |encoder| frozen_bytes(&encoder.tensors, network)),
            prompt: self.prompt.clone(),
            head: Arc::clone(&self.head),
        }))
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        let tokenizer = &self.own.tokenizer;
        let rows = each_text(batch, |text| tokenizer.tokens_with(&self.prompt, text))?;
        let name = batch.schema_ref().field(0).name();
        of_rows(name, rows, &format!("column \"{name}\" holds no text"))
    }

    fn encoding_bytes(&self, batch: &RecordBatch) -> usize {
        let column = batch.column(0);
        let of_column = column.to_data().get_slice_memory_size();
        let bytes = of_column.unwrap_or_else(|_| column.get_array_memory_size());
        let longest = self.own.tokenizer.limits().tokens;
        let rows = batch.num_rows();
        // A token has a byte of text, or is added to it.
        let most = bytes.saturating_add(rows * (ADDED_TOKENS + self.prompt.len()));
        let tokens = rows.saturating_mul(longest).min(most);
        let split = bytes.min(longest.saturating_mul(SPLIT_BYTES_MAX));
        tokens * TOKEN_BYTES + split * SPLITTING_BYTES
    }

    /// The vectors `[rows, width]`.
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        self.computed(inputs, &self.head)
    }

    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs> {
        vector_outputs(computed, report, wanted)
    }

    fn bytes(&self) -> usize {
        let of_encoder = self.encoder.as_ref().map_or(0, |encoder| encoder.bytes);
        of_encoder + self.lent_bytes + self.own.head.bytes()
    }

    fn working_bytes(&self, rows: usize) -> usize {
        let Own {
            spec,
            tokenizer,
            head,
            device,
            ..
        } = self.own.as_ref();
        // A vector as a tensor and as a column.
        let of_row = 2 * head.width() * size_of::<f32>();
        encoder_bytes(spec, tokenizer.limits(), device, rows) + rows * of_row
    }
}
