//! [`BatchCoalesceExec`]: physical operator that regroups rows into batches of the size that a model wants.
//!
//! Small batches waste a model's time, large ones its memory. The operator never crosses a partition, and holds at most
//! one batch of rows besides the batch that arrived. Texts for `predict` are gathered for several calls of the model, which
//! [`super::passes`] sorts and divides.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::{BatchCoalescer, cast};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use vatic_ml::data::signature::PortKind;
use vatic_ml::device::DeviceName;
use vatic_ml::model::Batching;

use crate::config::VaticOptions;
use crate::model::ResolvedModel;
use crate::plan::display::write_operator;
use crate::plan::one_input::one_input;

/// The maximum size of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchSize {
    /// The maximum number of rows.
    pub(crate) rows_max: usize,
    /// The maximum number of tokens, for a model that counts tokens.
    tokens: Option<Tokens>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Tokens {
    /// The column of the text.
    column: usize,
    max: usize,
    /// The most tokens that a text counts for: a model leaves out the end of a long text.
    text_max: usize,
}

/// What a call of a model asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WantedSize {
    /// The rows of a batch.
    pub(crate) rows: Option<usize>,
    /// The tokens of a batch.
    pub(crate) tokens: Option<usize>,
}

/// Texts are gathered for so many calls of the model: sorting them makes the calls more even, and the longest wait is still short.
const CALLS_GATHERED: usize = 16;

/// The mean number of bytes of an English token, and the number of special tokens around a text.
const BYTES_PER_TOKEN: usize = 4;
const TOKENS_AROUND: usize = 2;

/// About the tokens of a text of so many bytes.
pub(super) fn estimated_tokens(bytes: usize) -> usize {
    bytes / BYTES_PER_TOKEN + TOKENS_AROUND
}

/// The numbers of a batch for a GPU: 16 MiB of f32. Larger batches leave the caches of the host while they are encoded.
const GPU_NUMBERS: usize = 4 << 20;
const GPU_ROWS_MAX: usize = 1 << 16;
const GPU_ROWS_MIN: usize = 256;

/// The rows of a batch of images for the processor. Images of one batch are decoded one after the other, so small batches
/// keep all cores busy.
const IMAGE_ROWS: usize = 32;
/// The assumed numbers of an image: 3 x 224 x 224.
const IMAGE_NUMBERS: usize = 3 * 224 * 224;

/// The rows of a batch that gives a GPU enough work.
fn gpu_rows(model: &ResolvedModel) -> usize {
    let inputs = model.manifest.signature.inputs.iter();
    let widths = inputs.map(|port| match &port.kind {
        PortKind::Array { shape } => shape.iter().product(),
        PortKind::Image => IMAGE_NUMBERS,
        _ => 1,
    });
    let labels = model.manifest.signature.labels();
    let scores = labels.map(|label| label.form().scores());
    let width = widths.sum::<usize>().max(scores.sum());
    (GPU_NUMBERS / width.max(1)).clamp(GPU_ROWS_MIN, GPU_ROWS_MAX)
}

/// The input whose tokens a model counts, as an index into the signature.
pub(super) fn text_input(model: &ResolvedModel) -> Option<usize> {
    match &model.manifest.batching {
        Batching::Rows => None,
        Batching::Tokens { input, .. } => {
            let mut inputs = model.manifest.signature.inputs.iter();
            inputs.position(|port| port.name == *input)
        }
    }
}

impl BatchSize {
    /// The batch size for a model with these input columns: the user's choice, else the setting and the model's limit.
    pub(crate) fn of(
        model: &ResolvedModel,
        columns: &[usize],
        wanted: WantedSize,
        device: DeviceName,
        session: &dyn Session,
    ) -> Self {
        let settings = VaticOptions::of(session.config_options());
        // A setting of the user's own holds on a GPU, too.
        let is_default = settings.batch_size == VaticOptions::default().batch_size;
        let inputs = &model.manifest.signature.inputs;
        let takes_images = inputs.iter().any(|port| port.kind == PortKind::Image);
        let default = match is_default && device.is_gpu() {
            true => gpu_rows(model),
            false if is_default && takes_images => IMAGE_ROWS,
            false => settings.batch_size,
        };
        let rows_max = wanted.rows.unwrap_or(default).max(1);
        let own = Some(settings.max_batch_tokens).filter(|tokens| *tokens > 0);
        let tokens = match &model.manifest.batching {
            // So many rows, however long they are.
            Batching::Tokens { .. } if wanted.rows.is_some() && wanted.tokens.is_none() => None,
            Batching::Tokens { tokens_max, .. } => {
                let max = wanted.tokens.or(own).unwrap_or(*tokens_max);
                let column = text_input(model).and_then(|input| columns.get(input));
                column.map(|&column| Tokens {
                    column,
                    max,
                    text_max: usize::MAX,
                })
            }
            Batching::Rows => None,
        };
        Self { rows_max, tokens }
    }

    /// The size of a batch that is divided into several calls of the model, if the model counts tokens.
    pub(super) fn gathered(self) -> Self {
        let tokens = self.tokens.map(|tokens| Tokens {
            max: tokens.max.saturating_mul(CALLS_GATHERED),
            text_max: tokens.max,
            ..tokens
        });
        Self { tokens, ..self }
    }

    /// The maximum number of tokens of a call of the model.
    pub(super) fn tokens_max(&self) -> Option<usize> {
        self.tokens.map(|tokens| tokens.max)
    }

    /// Splits the batch into parts that have at most the maximum number of tokens, or one row.
    fn cut(&self, batch: RecordBatch) -> Result<VecDeque<RecordBatch>> {
        let Some(tokens) = self.tokens else {
            return Ok([batch].into());
        };
        let texts = cast(batch.column(tokens.column), &DataType::LargeUtf8)?;
        let texts = texts.as_string::<i64>();
        let count = |row: usize| match texts.is_valid(row) {
            true => estimated_tokens(texts.value(row).len()).min(tokens.text_max),
            false => 0,
        };
        let mut parts = VecDeque::new();
        let (mut start, mut sum) = (0, 0);
        for row in 0..batch.num_rows() {
            let count = count(row);
            if sum + count > tokens.max && row > start {
                parts.push_back(batch.slice(start, row - start));
                (start, sum) = (row, 0);
            }
            sum += count;
        }
        parts.push_back(batch.slice(start, batch.num_rows() - start));
        Ok(parts)
    }
}

impl fmt::Display for BatchSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tokens {
            None => write!(f, "{} rows", self.rows_max),
            Some(tokens) => write!(f, "{} tokens, {} rows at most", tokens.max, self.rows_max),
        }
    }
}

#[derive(Debug)]
pub(crate) struct BatchCoalesceExec {
    input: Arc<dyn ExecutionPlan>,
    size: BatchSize,
}

impl BatchCoalesceExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, size: BatchSize) -> Self {
        Self { input, size }
    }

    pub(super) fn size(&self) -> BatchSize {
        self.size
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(input, self.size)))
    }
}

impl DisplayAs for BatchCoalesceExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size.tokens {
            None => write_operator(
                f,
                format,
                "BatchCoalesceExec",
                format_args!("rows={}", self.size.rows_max),
            ),
            Some(tokens) => write_operator(
                f,
                format,
                "BatchCoalesceExec",
                format_args!("tokens={}, rows={}", tokens.max, self.size.rows_max),
            ),
        }
    }
}

impl ExecutionPlan for BatchCoalesceExec {
    fn name(&self) -> &str {
        "BatchCoalesceExec"
    }

    one_input!(in_order);

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let coalescer = BatchCoalescer::new(input.schema(), self.size.rows_max);
        Ok(Box::pin(CoalesceStream {
            input,
            size: self.size,
            coalescer,
            ready: VecDeque::new(),
            is_done: false,
        }))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}

struct CoalesceStream {
    input: SendableRecordBatchStream,
    size: BatchSize,
    coalescer: BatchCoalescer,
    /// Parts of a completed batch.
    ready: VecDeque<RecordBatch>,
    is_done: bool,
}

impl Stream for CoalesceStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(batch)));
            }
            if let Some(batch) = self.coalescer.next_completed_batch() {
                self.ready = self.size.cut(batch)?;
                continue;
            }
            if self.is_done {
                return Poll::Ready(None);
            }
            match ready!(self.input.poll_next_unpin(context)) {
                Some(Ok(batch)) => self.coalescer.push_batch(batch)?,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.is_done = true;
                    self.coalescer.finish_buffered_batch()?;
                }
            }
        }
    }
}

impl RecordBatchStream for CoalesceStream {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringArray;

    use super::*;

    #[test]
    fn batches_are_cut_by_the_tokens_of_a_text() {
        let texts = [
            Some(40),
            Some(4),
            None,
            Some(400),
            Some(1),
            Some(60),
            Some(60),
        ];
        let texts: StringArray = texts
            .iter()
            .map(|bytes| bytes.map(|n| "x".repeat(n)))
            .collect();
        let batch = RecordBatch::try_from_iter([("text", Arc::new(texts) as _)]).unwrap();
        let rows = |tokens| {
            let size = BatchSize {
                rows_max: 100,
                tokens,
            };
            let parts = size.cut(batch.clone()).unwrap();
            parts.iter().map(RecordBatch::num_rows).collect::<Vec<_>>()
        };
        let tokens = |max| {
            Some(Tokens {
                column: 0,
                max,
                text_max: usize::MAX,
            })
        };
        assert_eq!(rows(None), [7]);
        // 12, 3 and 0 tokens; 102 tokens, which exceed the maximum, in their own batch; 2 and 17; 17.
        assert_eq!(rows(tokens(20)), [3, 1, 2, 1]);
        assert_eq!(rows(tokens(1)), [1; 7]);
        assert_eq!(rows(tokens(10_000)), [7]);
        // For 16 calls of 5 tokens, a long text counts for 5.
        let size = BatchSize {
            rows_max: 100,
            tokens: tokens(5),
        };
        assert_eq!(size.gathered().cut(batch.clone()).unwrap().len(), 1);
    }
}
