//! [`TextModel`]: a network of texts as a model, whose output is a vector for each text.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use candle_core::{DType, Device, Tensor};

use super::builder::Builder;
use super::family::Source;
use super::row_numbers::RowNumbers;
use super::text_rows::{apart, each_text, padded};
use super::texts::tokens::tokenizer::TextTokenizer;
use super::vectors::{vector_outputs, vector_port};
use crate::data::inputs::{Inputs, RowReport};
use crate::data::signature::{Port, PortKind, Signature};
use crate::model::compute::ComputeType;
use crate::model::passes::in_passes;
use crate::model::tokens::{TokenCount, Tokens};
use crate::model::{Batching, Model, Outputs, Wanted};
use crate::{Error, Result};

/// The column that a model of texts takes.
const TEXT: &str = "text";
/// The tokens of a batch.
const BATCH_TOKENS: usize = 8_192;

/// A network of texts.
pub(super) trait TextNetwork: std::fmt::Debug + Send + Sync {
    /// The vectors `[rows, width]` of `tokens` `[rows, tokens]` (u32), each of which has so many tokens as `lengths` `[rows]`
    /// (u32) says.
    fn features(&self, tokens: &Tensor, lengths: &Tensor) -> Result<Tensor>;
}

/// How tokens become rows of one length.
#[derive(Debug, Clone, Copy)]
pub(super) enum Layout {
    /// A text ends with its first token of this number; the rows are as long as the longest text.
    UpTo(u32),
    /// A text ends with its token of the greatest number; the rows are as long as the longest text.
    UpToGreatest,
    /// Each text has so many tokens, the last of which have this number.
    Filled(usize, u32),
}

impl Layout {
    /// The tokens of a text up to its end.
    ///
    /// # Errors
    /// If the text has no end.
    fn laid_out(self, mut tokens: Vec<u32>) -> Result<Vec<u32>, String> {
        let length = match self {
            Self::UpTo(end) => tokens.iter().position(|token| *token == end),
            Self::UpToGreatest => {
                let greatest = tokens.iter().max().copied();
                tokens.iter().position(|token| Some(*token) == greatest)
            }
            Self::Filled(length, padding) => {
                tokens.resize(length, padding);
                length.checked_sub(1)
            }
        };
        let last = length.ok_or_else(|| "it has no token that ends it".to_owned())?;
        tokens.truncate(last + 1);
        Ok(tokens)
    }
}

/// What a model of texts is made of.
pub(super) struct Parts {
    pub(super) tokenizer: TextTokenizer,
    pub(super) layout: Layout,
    pub(super) network: Box<dyn TextNetwork>,
    /// The numbers of the vector of a text.
    pub(super) width: usize,
}

/// A network of texts with its weights.
#[derive(Debug)]
pub(super) struct TextModel {
    signature: Signature,
    tokenizer: TextTokenizer,
    layout: Layout,
    network: Box<dyn TextNetwork>,
    width: usize,
    device: Device,
    bytes: usize,
    numbers: RowNumbers,
}

impl TextModel {
    /// A model whose weights have all been taken, but for those that are `known` to belong to another part.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for other weights.
    pub(super) fn open(
        source: &Source<'_>,
        builder: &Builder<'_>,
        parts: Parts,
        known: impl Fn(&str) -> bool,
    ) -> Result<Arc<dyn Model>> {
        builder.weights.finish(&source.architecture, known)?;
        let text = Port {
            name: TEXT.into(),
            data_type: DataType::Utf8,
            kind: PortKind::Text,
        };
        Ok(Arc::new(Self {
            signature: Signature {
                inputs: vec![text],
                outputs: vec![vector_port(parts.width)],
            },
            tokenizer: parts.tokenizer,
            layout: parts.layout,
            network: parts.network,
            width: parts.width,
            device: source.device.clone(),
            bytes: builder.weights.numbers() * size_of::<f32>(),
            numbers: builder.numbers(),
        }))
    }

    /// The tokens of a text, and whether its end is left out.
    fn laid_out(&self, text: &str) -> Result<(Vec<u32>, bool), String> {
        let tokens = self.tokenizer.tokens(text)?;
        Ok((self.layout.laid_out(tokens.ids)?, tokens.is_cut))
    }
}

impl Tokens for TextModel {
    fn tokens_max(&self) -> usize {
        self.tokenizer.text_tokens_max()
    }

    fn count(&self, text: &str) -> Result<TokenCount, String> {
        let (tokens, is_cut) = self.laid_out(text)?;
        Ok(TokenCount {
            tokens: tokens.len(),
            is_cut,
        })
    }

    fn places(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        self.tokenizer.places(text)
    }
}

impl Model for TextModel {
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

    fn tokens(&self) -> Option<&dyn Tokens> {
        Some(self)
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        let name = batch.schema_ref().field(0).name();
        let rows = each_text(batch, |text| self.laid_out(text).map(|(tokens, _)| tokens))?;
        let (rows, failures) = apart(rows, &format!("column \"{name}\" holds no text"));
        let valid: NullBuffer = rows.iter().map(Option::is_some).collect();
        // A row without a text has one token, so that each row has a last one.
        let rows = rows.into_iter();
        let rows: Vec<Vec<u32>> = rows.map(|row| row.unwrap_or_else(|| vec![0])).collect();
        let [tokens, lengths] = padded(&rows)?;
        let mut inputs = Inputs::new(rows.len()).with_lengths(TEXT, tokens, lengths)?;
        let valid = Some(valid).filter(|valid| valid.null_count() > 0);
        inputs.report.add(name, valid.as_ref(), failures);
        Ok(inputs)
    }

    /// The vectors `[rows, width]`.
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        let missing = || Error::Internal("a model of texts without tokens".into());
        let tokens = inputs.get(TEXT).ok_or_else(missing)?;
        let lengths = inputs.lengths(TEXT).ok_or_else(missing)?;
        let rows = inputs.rows();
        if rows == 0 {
            let empty = Tensor::zeros((0, self.width), DType::F32, &self.device)?;
            return Ok(vec![empty]);
        }
        let pass = |range: Range<usize>| -> Result<Vec<Tensor>> {
            let part = |tensor: &Tensor| -> Result<Tensor> {
                let part = tensor.narrow(0, range.start, range.len())?.contiguous()?;
                Ok(part.to_device(&self.device)?)
            };
            let vectors = self.network.features(&part(tokens)?, &part(lengths)?)?;
            Ok(vec![vectors])
        };
        in_passes(rows, self.numbers.pass_rows(&self.device), pass)
    }

    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs> {
        vector_outputs(computed, report, wanted)
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn working_bytes(&self, rows: usize) -> usize {
        // A vector as a tensor and as a column.
        let of_row = 2 * self.width * size_of::<f32>();
        self.numbers.bytes(&self.device, rows) + rows * of_row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_where_their_layout_says() {
        let tokens = || vec![7, 3, 9, 4, 9];
        let laid_out = |layout: Layout| layout.laid_out(tokens());
        assert_eq!(laid_out(Layout::UpTo(9)), Ok(vec![7, 3, 9]));
        assert_eq!(laid_out(Layout::UpToGreatest), Ok(vec![7, 3, 9]));
        assert_eq!(
            laid_out(Layout::Filled(7, 1)),
            Ok(vec![7, 3, 9, 4, 9, 1, 1])
        );
        assert!(laid_out(Layout::UpTo(5)).is_err());
    }
}
