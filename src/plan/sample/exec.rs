//! [`SampleExec`]: the operator that draws the rows of a sample.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::BooleanArray;
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::Distribution;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::node::SampleNode;
use crate::error::{SqlState, sql_err};
use crate::plan::display::write_operator;
use crate::plan::one_input::one_input;

/// The memory for the key and the count of one row, with the spare capacity of the hash table.
const COUNT_BYTES: usize = 64;

/// How rows are drawn.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Draw {
    percent: f64,
    by: By,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum By {
    /// By the content of a row, the number of equal rows before it, and the seed of the statement.
    Content { seed: u64 },
    /// By the place of a row in its partition, and a key that is drawn when the statement is planned, so that a task that
    /// runs again after a failure takes the same rows.
    Place { key: u64 },
}

impl Draw {
    /// Whether a row with these 64 random bits is in the sample.
    fn takes(&self, bits: u64) -> bool {
        // 53 bits convert to a fraction without rounding, and each of these fractions is below 1.
        let fraction = (bits >> 11) as f64 / (1u64 << 53) as f64;
        fraction * 100.0 < self.percent
    }
}

/// The operator of a [`SampleNode`].
pub(super) fn plan(
    node: &SampleNode,
    inputs: &[Arc<dyn ExecutionPlan>],
    _session: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    let by = match node.seed {
        Some(seed) => By::Content { seed },
        None => By::Place {
            key: uuid::Uuid::new_v4().as_u64_pair().1,
        },
    };
    let percent = node.percent();
    let input = Arc::clone(&inputs[0]);
    Ok(Arc::new(SampleExec::new(input, Draw { percent, by })))
}

#[derive(Debug)]
pub(super) struct SampleExec {
    input: Arc<dyn ExecutionPlan>,
    draw: Draw,
}

impl SampleExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, draw: Draw) -> Self {
        Self { input, draw }
    }

    pub(super) fn draw(&self) -> Draw {
        self.draw
    }

    pub(super) fn is_by_place(&self) -> bool {
        matches!(self.draw.by, By::Place { .. })
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(input, self.draw)))
    }
}

impl DisplayAs for SampleExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_operator(
            f,
            format,
            "SampleExec",
            format_args!("{} percent", self.draw.percent),
        )?;
        match self.draw.by {
            By::Content { seed } => write!(f, ", seed={seed}"),
            By::Place { .. } => Ok(()),
        }
    }
}

impl ExecutionPlan for SampleExec {
    fn name(&self) -> &str {
        "SampleExec"
    }

    /// Equal rows are counted, so all rows must be in one partition.
    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![match self.draw.by {
            By::Content { .. } => Distribution::SinglePartition,
            By::Place { .. } => Distribution::UnspecifiedDistribution,
        }]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    // A sample keeps the order and the equalities of its input.
    one_input!(in_order);

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (draw, schema) = (self.draw, self.schema());
        let mut rows = match draw.by {
            By::Content { seed } => {
                let consumer = MemoryConsumer::new("TABLESAMPLE");
                let memory = consumer.register(context.memory_pool());
                Rows::Content(Box::new(Content::try_new(seed, &schema, memory)?))
            }
            By::Place { key } => Rows::Place {
                // Partitions draw different numbers.
                key: xxh3_64_with_seed(&partition.to_le_bytes(), key),
                next: 0,
            },
        };
        let input = self.input.execute(partition, context)?;
        let stream = input
            .map(move |batch| {
                let batch = batch?;
                let bits = rows.bits(&batch)?;
                let taken: BooleanArray = bits
                    .into_iter()
                    .map(|bits| draw.takes(bits))
                    .map(Some)
                    .collect();
                Ok(filter_record_batch(&batch, &taken)?)
            })
            .try_filter(|batch| std::future::ready(batch.num_rows() > 0));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::LowerEqual
    }
}

/// The state from which a partition draws.
enum Rows {
    Content(Box<Content>),
    Place { key: u64, next: u64 },
}

impl Rows {
    /// 64 random bits for each row.
    fn bits(&mut self, batch: &RecordBatch) -> Result<Vec<u64>> {
        match self {
            Self::Content(content) => content.bits(batch),
            Self::Place { key, next } => {
                let first = *next;
                *next += batch.num_rows() as u64;
                let places = first..*next;
                let bits = places.map(|place| xxh3_64_with_seed(&place.to_le_bytes(), *key));
                Ok(bits.collect())
            }
        }
    }
}

/// The number of times that each row was seen.
struct Content {
    seed: u64,
    converter: RowConverter,
    seen: HashMap<u128, u64>,
    memory: MemoryReservation,
}

impl Content {
    fn try_new(seed: u64, schema: &Schema, memory: MemoryReservation) -> Result<Self> {
        let fields = schema.fields().iter();
        let fields = fields.map(|field| SortField::new(field.data_type().clone()));
        let fields: Vec<SortField> = fields.collect();
        if !RowConverter::supports_fields(&fields) {
            let message = "REPEATABLE compares whole rows, and a column of them has a type that cannot be compared; \
                           select the other columns in a sub-query";
            return Err(sql_err(SqlState::Unsupported, message));
        }
        Ok(Self {
            seed,
            converter: RowConverter::new(fields)?,
            seen: HashMap::new(),
            memory,
        })
    }

    fn bits(&mut self, batch: &RecordBatch) -> Result<Vec<u64>> {
        if batch.num_columns() == 0 {
            return Err(sql_err(
                SqlState::Internal,
                "the input of a sample with a seed has no columns",
            ));
        }
        let rows = self.converter.convert_columns(batch.columns())?;
        let mut bits = Vec::with_capacity(rows.num_rows());
        for row in &rows {
            let content = xxh3_128(row.as_ref());
            let ordinal = self.seen.entry(content).or_default();
            let mut key = [0; 24];
            key[..16].copy_from_slice(&content.to_le_bytes());
            key[16..].copy_from_slice(&ordinal.to_le_bytes());
            *ordinal += 1;
            bits.push(xxh3_64_with_seed(&key, self.seed));
        }
        self.memory.try_resize(self.seen.len() * COUNT_BYTES)?;
        Ok(bits)
    }
}
