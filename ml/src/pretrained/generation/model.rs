//! [`TextWriter`]: a network that writes text, as a model. A call of it has its own arguments, and shares the weights.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use candle_core::{Device, Tensor};

use super::chat::Chat;
use super::network::Network;
use super::tokens::PromptTokenizer;
use super::write::{
    CACHE_TOKENS_AT_ONCE, TEXTS_AT_ONCE, TOKENS_AT_ONCE, Writing, Written, before_stop,
    cache_bytes, cache_bytes_at_once,
};
use crate::data::coerce::coerced;
use crate::data::inputs::{Inputs, RowReport};
use crate::data::signature::{Port, PortKind, Signature};
use crate::device::HOST;
use crate::model::compute::ComputeType;
use crate::model::generation::Generation;
use crate::model::tokens::{TokenCount, Tokens};
use crate::model::{Batching, Model, Outputs, Wanted};
use crate::pretrained::text_rows::{apart, each_text, padded};
use crate::{Error, Result, stop};

/// The column that a model takes.
const TEXT: &str = "text";
/// The column of what it writes.
const GENERATED: &str = "generated";
/// About the most tokens that a template of a chat adds to a prompt.
const CHAT_TOKENS: usize = 512;
/// What stands for the number of written tokens of a row without any, because its scores are no numbers.
const FAILED: u32 = u32::MAX;

/// What a model is made of.
#[derive(Debug)]
pub(super) struct Parts {
    /// The name of the architecture in the model's files.
    pub(super) architecture: String,
    pub(super) network: Box<dyn Network>,
    pub(super) tokenizer: PromptTokenizer,
    pub(super) chat: Option<Chat>,
    /// Tokens that end a text.
    pub(super) ends: Vec<u32>,
    /// What stands for a prompt without tokens.
    pub(super) begin: Option<u32>,
    /// The memory of the weights in bytes.
    pub(super) weight_bytes: usize,
}

/// A model that writes text, with the arguments of a call.
#[derive(Debug)]
pub(super) struct TextWriter {
    signature: Signature,
    parts: Arc<Parts>,
    how: Generation,
}

impl TextWriter {
    /// A model on this device.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a GPU.
    pub(super) fn open(parts: Parts, device: &Device) -> Result<Arc<dyn Model>> {
        if !device.is_cpu() {
            let message = "models that write text compute on the processor; leave out device";
            return Err(Error::Unsupported(message.into()));
        }
        let port = |name: &str, kind| Port {
            name: name.into(),
            data_type: DataType::Utf8,
            kind,
        };
        Ok(Arc::new(Self {
            signature: Signature {
                inputs: vec![port(TEXT, PortKind::Text)],
                outputs: vec![port(GENERATED, PortKind::Generated)],
            },
            parts: Arc::new(parts),
            how: Generation::default(),
        }))
    }

    /// The template that prompts go through.
    fn chat(&self) -> Option<&Chat> {
        let chat = self.parts.chat.as_ref();
        chat.filter(|_| self.how.chat.unwrap_or(true))
    }

    /// The tokens of a prompt.
    fn prompt(&self, text: &str) -> Result<Vec<u32>, String> {
        let chat = self.chat();
        let text = match chat {
            None => Cow::Borrowed(text),
            Some(chat) => Cow::Owned(chat.text(text)?),
        };
        let tokens_max = self.parts.network.positions_max();
        // A template has the tokens that begin a text.
        let tokens = self
            .parts
            .tokenizer
            .tokens(&text, chat.is_none(), tokens_max)?;
        match (tokens.is_empty(), self.parts.begin) {
            (false, _) => Ok(tokens),
            (true, Some(begin)) => Ok(vec![begin]),
            (true, None) => Err("it has no tokens".into()),
        }
    }

    /// What is written after each prompt; equal prompts are computed once.
    fn write(&self, prompts: &[Vec<u32>]) -> Result<Vec<Written>> {
        let mut numbers: HashMap<&[u32], usize> = HashMap::new();
        let mut different: Vec<&[u32]> = vec![];
        let mut of_prompt = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let number = *numbers.entry(prompt).or_insert_with(|| {
                different.push(prompt);
                different.len() - 1
            });
            of_prompt.push(number);
        }
        let tokenizer = &self.parts.tokenizer;
        let writing = Writing {
            network: &*self.parts.network,
            how: &self.how,
            ends: &self.parts.ends,
            // Tokens without a text are a failure when the text is made.
            text: &|tokens| tokenizer.text(tokens).unwrap_or_default(),
        };
        let written = writing.write(&different)?;
        Ok(of_prompt
            .into_iter()
            .map(|number| written[number].clone())
            .collect())
    }

    /// The text of written tokens.
    fn text(&self, tokens: &[u32]) -> Result<String, String> {
        let text = self.parts.tokenizer.text(tokens)?;
        Ok(before_stop(&text, &self.how.stop).to_owned())
    }
}

impl Tokens for TextWriter {
    fn tokens_max(&self) -> usize {
        self.parts.network.positions_max().saturating_sub(1)
    }

    /// The tokens of the prompt, and those that may be written. No prompt is cut: one that is too long is a failure.
    fn count(&self, text: &str) -> Result<TokenCount, String> {
        Ok(TokenCount {
            tokens: self.prompt(text)?.len() + self.how.tokens_max,
            is_cut: false,
        })
    }

    fn places(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        self.parts.tokenizer.places(text)
    }
}

impl Model for TextWriter {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn batching(&self) -> Batching {
        Batching::Tokens {
            input: TEXT.into(),
            tokens_max: CACHE_TOKENS_AT_ONCE,
        }
    }

    fn compute_type(&self) -> ComputeType {
        ComputeType::F32
    }

    fn facts(&self) -> Vec<(String, String)> {
        let parts = &self.parts;
        let facts = [
            ("architecture", parts.architecture.clone()),
            ("chat_template", parts.chat.is_some().to_string()),
            ("tokens_max", parts.network.positions_max().to_string()),
        ];
        Vec::from(facts.map(|(name, value)| (name.to_owned(), value)))
    }

    fn for_call(&self, wanted: &Wanted) -> Result<Option<Arc<dyn Model>>> {
        if let Some(prompt) = &wanted.prompt {
            let message = format!("it has no prompts, so none of the name \"{prompt}\"");
            return Err(Error::Invalid(message));
        }
        if wanted.generation.chat == Some(true) && self.parts.chat.is_none() {
            let message = "it has no template of a chat; leave out chat => true";
            return Err(Error::Invalid(message.into()));
        }
        Ok(Some(Arc::new(Self {
            signature: self.signature.clone(),
            parts: Arc::clone(&self.parts),
            how: wanted.generation.clone(),
        })))
    }

    fn tokens(&self) -> Option<&dyn Tokens> {
        Some(self)
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        let name = batch.schema_ref().field(0).name();
        let prompts = each_text(batch, |text| self.prompt(text))?;
        let (prompts, failures) = apart(prompts, &format!("column \"{name}\" holds no prompt"));
        let valid: NullBuffer = prompts.iter().map(Option::is_some).collect();
        // A row without a prompt has no tokens.
        let prompts: Vec<Vec<u32>> = prompts.into_iter().map(Option::unwrap_or_default).collect();
        let [tokens, lengths] = padded(&prompts)?;
        let mut inputs = Inputs::new(prompts.len()).with_lengths(TEXT, tokens, lengths)?;
        let valid = Some(valid).filter(|valid| valid.null_count() > 0);
        inputs.report.add(name, valid.as_ref(), failures);
        Ok(inputs)
    }

    /// The keys and values of a text that has more than those of several texts together may have.
    fn encoding_bytes(&self, batch: &RecordBatch) -> usize {
        let network = &*self.parts.network;
        let texts = batch
            .columns()
            .first()
            .map(|column| coerced(TEXT, column, &DataType::Utf8));
        let Some(Ok((texts, _))) = texts else {
            return 0;
        };
        let texts = texts.as_string::<i32>();
        let lengths = texts.iter().flatten().map(str::len);
        // A token has a byte or more.
        let longest = lengths.max().unwrap_or(0) + CHAT_TOKENS;
        let bytes = cache_bytes(network, &self.how, longest);
        bytes.saturating_sub(cache_bytes_at_once(network))
    }

    /// The written tokens `[rows, tokens]` (u32), and how many each row has, `[rows]` (u32).
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        let missing = || Error::Internal("a model that writes text without prompts".into());
        let tokens: Vec<Vec<u32>> = inputs.get(TEXT).ok_or_else(missing)?.to_vec2()?;
        let lengths: Vec<u32> = inputs.lengths(TEXT).ok_or_else(missing)?.to_vec1()?;
        let rows = lengths.iter().map(|length| *length as usize);
        let prompts = tokens.into_iter().zip(rows).map(|(mut tokens, length)| {
            tokens.truncate(length);
            tokens
        });
        let prompts: Vec<Vec<u32>> = prompts.collect();
        let given = prompts.iter().filter(|prompt| !prompt.is_empty());
        let mut written = self.write(&given.cloned().collect::<Vec<_>>())?.into_iter();
        let mut failed = vec![false; prompts.len()];
        let mut all = vec![];
        for (prompt, failed) in prompts.iter().zip(&mut failed) {
            let tokens = match prompt.is_empty() {
                true => Some(vec![]),
                false => written.next().flatten(),
            };
            *failed = tokens.is_none();
            all.push(tokens.unwrap_or_default());
        }
        let [tokens, lengths] = padded(&all)?;
        let lengths: Vec<u32> = lengths.to_vec1()?;
        let lengths = lengths.into_iter().zip(failed);
        let lengths = lengths.map(|(length, failed)| if failed { FAILED } else { length });
        let count = all.len();
        let lengths = Tensor::from_vec(lengths.collect::<Vec<u32>>(), count, &HOST)?;
        Ok(vec![tokens, lengths])
    }

    fn outputs(
        &self,
        computed: &[Tensor],
        mut report: RowReport,
        wanted: &Wanted,
    ) -> Result<Outputs> {
        let [tokens, lengths] = computed else {
            let heads = computed.len();
            let message = format!("{heads} outputs of a model that writes text");
            return Err(Error::Internal(message));
        };
        let tokens: Vec<Vec<u32>> = tokens.to_vec2()?;
        let lengths: Vec<u32> = lengths.to_vec1()?;
        let before = report.valid.clone();
        let (mut texts, mut failures) = (StringBuilder::new(), vec![]);
        for (row, (tokens, length)) in tokens.iter().zip(lengths).enumerate() {
            stop::check()?;
            let is_valid = before.as_ref().is_none_or(|valid| valid.is_valid(row));
            let text = match length {
                FAILED => Err("the scores of its next token are no numbers".to_owned()),
                length => self.text(&tokens[..length as usize]),
            };
            match text {
                Ok(text) if is_valid => texts.append_value(text),
                Err(cause) if is_valid => {
                    failures.push((row, cause));
                    texts.append_null();
                }
                _ => texts.append_null(),
            }
        }
        let column: ArrayRef = Arc::new(texts.finish());
        report.valid = NullBuffer::union(report.valid.as_ref(), column.nulls());
        report.failures.extend(failures);
        report.failures.sort_by_key(|(row, _)| *row);
        Ok(Outputs {
            columns: vec![column; wanted.outputs.len()],
            scores: vec![],
            report,
        })
    }

    fn bytes(&self) -> usize {
        self.parts.weight_bytes + self.parts.tokenizer.table_bytes()
    }

    fn working_bytes(&self, rows: usize) -> usize {
        let network = &*self.parts.network;
        let texts = rows.min(TEXTS_AT_ONCE);
        let numbers = TOKENS_AT_ONCE * network.layer_numbers() + texts * network.vocabulary();
        // A row has its tokens twice, and its text.
        let of_rows = rows.saturating_mul(self.how.tokens_max.saturating_mul(16));
        numbers * size_of::<f32>() + cache_bytes_at_once(network) + of_rows
    }
}
