//! [`ChunkExec`]: physical operator that gives a row for each part of a text.

use std::fmt;
use std::future::ready;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, UInt32Array};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use futures::TryStreamExt;
use futures::future::try_join_all;
use tokio::sync::OnceCell;
use vatic_ml::device::DeviceName;
use vatic_ml::model::tokens::chunks;
use vatic_ml::model::{Model, Wanted};
use vatic_ml::stop;

use super::node::{ChunkSize, part_fields, shared_field};
use crate::config::VaticOptions;
use crate::error::{SqlState, sql_err};
use crate::memory::batch_bytes;
use crate::model::ResolvedModel;
use crate::model::runtime::{LoadedModel, ModelRuntime};
use crate::plan::display::write_operator;
use crate::plan::one_input::one_input;
use crate::predict::load::load;
use crate::predict::options::PredictOptions;

/// The texts that one job divides.
const SLICE_ROWS: usize = 64;
/// The parts of a batch.
const BATCH_PARTS: usize = 1_024;

/// What to divide, as decided at planning.
#[derive(Debug, Clone)]
pub(in crate::predict) struct ChunkSpec {
    pub(in crate::predict) model: Arc<ResolvedModel>,
    /// The input column of the text.
    pub(in crate::predict) text: usize,
    pub(in crate::predict) size: ChunkSize,
    pub(in crate::predict) options: PredictOptions,
}

#[derive(Debug)]
pub(in crate::predict) struct ChunkExec {
    input: Arc<dyn ExecutionPlan>,
    spec: Arc<ChunkSpec>,
    properties: Arc<PlanProperties>,
}

impl ChunkExec {
    pub(in crate::predict) fn new(input: Arc<dyn ExecutionPlan>, spec: ChunkSpec) -> Self {
        let schema = input.schema();
        let own = schema.fields().iter().map(shared_field);
        let fields: Vec<_> = own.chain(part_fields()).collect();
        let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(schema)),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            input,
            spec: Arc::new(spec),
            properties: Arc::new(properties),
        }
    }

    pub(in crate::predict) fn spec(&self) -> &ChunkSpec {
        &self.spec
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(input, self.spec.as_ref().clone())))
    }
}

impl DisplayAs for ChunkExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChunkSize { tokens, overlap } = self.spec.size;
        write_operator(
            f,
            format,
            "ChunkExec",
            format_args!(
                "model={}, tokens={tokens}, overlap={overlap}",
                self.spec.model.label()
            ),
        )
    }
}

impl ExecutionPlan for ChunkExec {
    fn name(&self) -> &str {
        "ChunkExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    one_input!();

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let task = Arc::new(Task {
            spec: Arc::clone(&self.spec),
            runtime: ModelRuntime::of(&context)?,
            cache_bytes: VaticOptions::of(context.session_config().options()).cache_bytes,
            model: OnceCell::new(),
            schema: self.schema(),
            memory: MemoryConsumer::new("ChunkExec").register(context.memory_pool()),
        });
        let input = self.input.execute(partition, context)?;
        let divide = move |batch: RecordBatch| {
            let task = Arc::clone(&task);
            async move { task.divided(&batch).await }
        };
        // Rows that there are not need no model.
        let input = input.try_filter(|batch| ready(batch.num_rows() > 0));
        let batches = |divided: Divided| futures::stream::iter(divided.batches());
        let stream = input.and_then(divide).map_ok(batches).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            stream,
        )))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::GreaterEqual
    }
}

/// The state of one partition of a query.
struct Task {
    spec: Arc<ChunkSpec>,
    runtime: Arc<ModelRuntime>,
    cache_bytes: usize,
    /// Loaded with the first batch.
    model: OnceCell<Arc<LoadedModel>>,
    schema: SchemaRef,
    /// Empty: each batch gets its own reservation of the same consumer.
    memory: MemoryReservation,
}

impl Task {
    /// The parts of the texts of a batch.
    async fn divided(&self, batch: &RecordBatch) -> Result<Divided> {
        let held = self.memory.new_empty();
        // The rows, and their texts in another type.
        let of_rows = 2 * batch_bytes(batch);
        held.try_grow(of_rows)?;
        let model = self.model.get_or_try_init(|| self.load()).await?;
        let texts = cast(batch.column(self.spec.text), &DataType::LargeUtf8)?;
        let size = self.spec.size;
        let slices = (0..texts.len()).step_by(SLICE_ROWS).map(|start| {
            let slice = texts.slice(start, SLICE_ROWS.min(texts.len() - start));
            let model = Arc::clone(model);
            let job = move || parts(&**model, &slice, size);
            self.runtime.run(DeviceName::Cpu, job)
        });
        let parts = try_join_all(slices).await?.into_iter().flatten();
        let shared = batch.columns().iter().zip(self.schema.fields());
        let shared = shared.map(|(column, field)| Ok(cast(column, field.data_type())?));
        let shared = shared.collect::<Result<Vec<ArrayRef>>>()?;
        let parts = parts.enumerate();
        let parts: Vec<Part> = parts.flat_map(|(row, parts)| of_row(row, parts)).collect();
        Ok(Divided {
            schema: Arc::clone(&self.schema),
            shared,
            texts,
            bytes: of_rows + parts.len() * size_of::<Part>(),
            parts,
            held,
        })
    }

    async fn load(&self) -> Result<Arc<LoadedModel>> {
        let (spec, cache_bytes) = (&self.spec, self.cache_bytes);
        let wanted = Wanted {
            prompt: spec.options.prompt.clone(),
            ..Wanted::default()
        };
        let loading = load(
            &self.runtime,
            &spec.model,
            &spec.options,
            &wanted,
            cache_bytes,
        );
        let (model, _) = loading.await?;
        let wrong = |problem: String| {
            let label = spec.model.label();
            let message = format!("model \"{label}\" {problem}");
            sql_err(SqlState::InvalidParameter, message)
        };
        let Some(tokens) = model.tokens() else {
            return Err(wrong("does not say where the tokens of a text are".into()));
        };
        let (wanted, most) = (spec.size.tokens, tokens.tokens_max());
        match wanted > most {
            true => Err(wrong(format!(
                "takes {most} tokens of a text, fewer than chunk => {wanted}; use chunk => {most}"
            ))),
            false => Ok(model),
        }
    }
}

/// A batch whose texts are divided.
struct Divided {
    schema: SchemaRef,
    /// The columns of the input, as those of the output.
    shared: Vec<ArrayRef>,
    texts: ArrayRef,
    parts: Vec<Part>,
    /// The memory of the rows, and of one batch of parts.
    held: MemoryReservation,
    /// That of the rows, in bytes.
    bytes: usize,
}

impl Divided {
    /// The parts in batches, each of which is made when it is wanted.
    fn batches(self) -> impl Iterator<Item = Result<RecordBatch>> {
        let starts = (0..self.parts.len()).step_by(BATCH_PARTS);
        starts.map(move |start| {
            let end = self.parts.len().min(start + BATCH_PARTS);
            self.batch(&self.parts[start..end])
        })
    }

    fn batch(&self, parts: &[Part]) -> Result<RecordBatch> {
        let of_parts = parts.iter().filter_map(|part| part.bytes.as_ref());
        let of_texts: usize = of_parts.map(|bytes| bytes.end - bytes.start).sum();
        // A value is a number, or a view of a text.
        let values = parts.len() * self.schema.fields().len();
        let bytes = of_texts + values * size_of::<u128>();
        self.held.try_resize(self.bytes + bytes)?;
        let rows: UInt32Array = parts.iter().map(|part| part.row as u32).collect();
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for column in &self.shared {
            columns.push(take(column, &rows, None)?);
        }
        let texts = self.texts.as_string::<i64>();
        let mut place = Place::default();
        let (mut numbers, mut starts, mut found) = (vec![], vec![], vec![]);
        for Part { row, number, bytes } in parts {
            let text = bytes.clone().map(|bytes| (texts.value(*row), bytes));
            numbers.push(text.as_ref().map(|_| *number as i64));
            let start = text.as_ref().map(|(text, bytes)| {
                let characters = place.characters(*row, text, bytes.start);
                characters as i64 + 1
            });
            starts.push(start);
            found.push(text.map(|(text, bytes)| &text[bytes]));
        }
        columns.push(Arc::new(Int64Array::from(numbers)));
        columns.push(Arc::new(Int64Array::from(starts)));
        columns.push(Arc::new(StringArray::from(found)));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    /// The row of the text.
    row: usize,
    /// The number of the part in its text, from 1.
    number: usize,
    /// The part, in bytes; `None` if the text is NULL.
    bytes: Option<Range<usize>>,
}

fn of_row(row: usize, parts: Option<Vec<Range<usize>>>) -> Vec<Part> {
    match parts {
        None => vec![Part {
            row,
            number: 1,
            bytes: None,
        }],
        Some(parts) => {
            let parts = parts.into_iter().zip(1..);
            let part = |(bytes, number)| Part {
                row,
                number,
                bytes: Some(bytes),
            };
            parts.map(part).collect()
        }
    }
}

/// A place in a text, in bytes and in characters. Later places are counted from it.
#[derive(Default)]
struct Place {
    row: usize,
    bytes: usize,
    characters: usize,
}

impl Place {
    /// The characters before a place in the text of a row.
    fn characters(&mut self, row: usize, text: &str, bytes: usize) -> usize {
        if self.row != row || self.bytes > bytes {
            *self = Self {
                row,
                ..Self::default()
            };
        }
        self.characters += text[self.bytes..bytes].chars().count();
        self.bytes = bytes;
        self.characters
    }
}

/// The parts of each text, `None` for NULL, on a worker. A text that has no tokens is one part, which the model then refuses.
fn parts(
    model: &dyn Model,
    texts: &ArrayRef,
    size: ChunkSize,
) -> vatic_ml::Result<Vec<Option<Vec<Range<usize>>>>> {
    let texts = texts.as_string::<i64>();
    let of_row = |row: usize| {
        stop::check()?;
        if texts.is_null(row) {
            return Ok(None);
        }
        let text = texts.value(row);
        let ChunkSize { tokens, overlap } = size;
        let found = model
            .tokens()
            .and_then(|model| chunks(model, text, tokens, overlap).ok());
        Ok(Some(
            found.unwrap_or_else(|| iter::once(0..text.len()).collect()),
        ))
    };
    (0..texts.len()).map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::LargeStringArray;
    use datafusion::execution::memory_pool::MemoryPool;

    use super::*;
    use crate::memory::Memory;

    #[test]
    fn a_place_is_counted_in_characters() {
        let mut place = Place::default();
        let text = "wörd ünd";
        assert_eq!(place.characters(0, text, 0), 0);
        assert_eq!(place.characters(0, text, 6), 5);
        assert_eq!(place.characters(0, text, 3), 2);
        assert_eq!(place.characters(1, "äb", 2), 1);
        assert_eq!(place.characters(0, text, text.len()), 8);
    }

    #[test]
    fn parts_hold_memory_until_they_are_read() {
        let pool: Arc<dyn MemoryPool> = Memory::new(None).statement(1 << 20, None);
        let text = "x".repeat(3_000);
        let part = |number: usize| Part {
            row: 0,
            number: number + 1,
            bytes: Some(number..number + 1),
        };
        let held = MemoryConsumer::new("ChunkExec").register(&pool);
        held.try_grow(3_000).unwrap();
        let divided = Divided {
            schema: Arc::new(Schema::new(part_fields().to_vec())),
            shared: vec![],
            texts: Arc::new(LargeStringArray::from(vec![text])),
            parts: (0..2_000).map(part).collect(),
            held,
            bytes: 3_000,
        };
        let mut batches = divided.batches();
        let rows =
            |batch: Option<Result<RecordBatch>>| batch.map(|batch| batch.unwrap().num_rows());
        assert_eq!(rows(batches.next()), Some(1_024));
        // Three columns of numbers or views, and a byte of text.
        assert_eq!(pool.reserved(), 3_000 + 1_024 * (3 * 16 + 1));
        assert_eq!(rows(batches.next()), Some(976));
        assert_eq!(rows(batches.next()), None);
        drop(batches);
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn null_is_a_part_without_text() {
        let parts = of_row(3, None);
        assert_eq!((parts.len(), &parts[0].bytes), (1, &None));
        let parts = of_row(3, Some(vec![0..4, 2..7]));
        let numbers: Vec<_> = parts.iter().map(|part| (part.row, part.number)).collect();
        assert_eq!(numbers, [(3, 1), (3, 2)]);
    }
}
