//! [`RouteExec`]: physical operator that casts the columns of a training to canonical types, reads images as pixels, and
//! appends a content hash and a routing key to each row. By the key, hash repartitioning sends the row to the rank that owns
//! its shard.
//!
//! DataFusion repartitions rows only by its own hash, which would spread a few shards unevenly over the ranks. So each
//! rank has an integer key, found by search, whose hash selects that rank.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Int64Array,
};
use datafusion::arrow::buffer::{Buffer, NullBuffer};
use datafusion::arrow::compute::cast_with_options;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::DataFusionError;
use datafusion::common::hash_utils::create_hashes;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::repartition::REPARTITION_RANDOM_STATE;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use vatic_ml::data::coerce::canonical_array;
use vatic_ml::data::image::{ImageReader, Images};
use vatic_ml::train::shard::{Placement, content_hashes, owner};

use crate::error::{Result, SqlState, ml_err, sql_err};
use crate::plan::display::write_operator;
use crate::plan::divided::divided;
use crate::plan::functions::STRICT;
use crate::plan::one_input::one_input;

/// The name of the column with the content hash.
pub(super) const HASH_COLUMN: &str = "__row_hash";
/// The name of the column that the rows are repartitioned by.
pub(super) const KEY_COLUMN: &str = "__routing_key";
const HASH_BYTES: i32 = 16;
/// The pixels of a batch, in bytes.
const PIXELS_BYTES: usize = 4 << 20;
/// The most columns whose values name a row in an error, and the most characters of a value.
const NAMED_MAX: usize = 3;
const VALUE_CHARACTERS: usize = 40;

/// How images are read.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Reading {
    pub(super) reader: ImageReader,
    /// Whether an image that cannot be read is a NULL, so that its row is skipped as one with a NULL; otherwise it is an error.
    pub(super) skips_unreadable: bool,
}

/// The mapping of rows to ranks.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// The columns to keep: index in the input, name and canonical type.
    pub(super) columns: Vec<(usize, Field)>,
    pub(super) seed: u64,
    pub(super) shards: usize,
    /// How the columns of pixels are made of images, if there are any.
    pub(super) images: Option<Reading>,
    /// The routing key of each rank.
    keys: Arc<Vec<i64>>,
}

impl Route {
    pub(super) fn try_new(
        columns: Vec<(usize, Field)>,
        seed: u64,
        shards: usize,
        workers: usize,
    ) -> Result<Self> {
        Ok(Self {
            columns,
            seed,
            shards,
            images: None,
            keys: Arc::new(routing_keys(workers)?),
        })
    }

    /// The same, with images that are read so.
    pub(super) fn reading(self, images: Option<Reading>) -> Self {
        Self { images, ..self }
    }

    pub(super) fn workers(&self) -> usize {
        self.keys.len()
    }
}

/// For each rank the smallest integer that DataFusion's repartitioning sends to it.
fn routing_keys(workers: usize) -> Result<Vec<i64>> {
    let candidates: ArrayRef = Arc::new(Int64Array::from_iter_values(0..(workers as i64 * 64)));
    let mut hashes = vec![0; candidates.len()];
    create_hashes(
        [&candidates],
        REPARTITION_RANDOM_STATE.random_state(),
        &mut hashes,
    )?;
    let first = |rank: usize| {
        hashes
            .iter()
            .position(|hash| (*hash % workers as u64) as usize == rank)
    };
    let keys: Option<Vec<i64>> = (0..workers)
        .map(|rank| first(rank).map(|key| key as i64))
        .collect();
    keys.ok_or_else(|| {
        sql_err(
            SqlState::Internal,
            format!("no routing key for one of {workers} workers"),
        )
    })
}

#[derive(Debug)]
pub(super) struct RouteExec {
    input: Arc<dyn ExecutionPlan>,
    route: Route,
    properties: Arc<PlanProperties>,
}

impl RouteExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, route: Route) -> Self {
        let mut fields: Vec<Field> = route
            .columns
            .iter()
            .map(|(_, field)| field.clone())
            .collect();
        fields.push(Field::new(
            HASH_COLUMN,
            DataType::FixedSizeBinary(HASH_BYTES),
            false,
        ));
        fields.push(Field::new(KEY_COLUMN, DataType::Int64, false));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(Schema::new(fields))),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            input,
            route,
            properties: Arc::new(properties),
        }
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(input, self.route.clone())))
    }
}

impl DisplayAs for RouteExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .route
            .columns
            .iter()
            .map(|(_, field)| field.name().as_str())
            .collect();
        write_operator(
            f,
            format,
            "RouteExec",
            format_args!(
                "columns=[{}], shards={}, seed={}",
                names.join(", "),
                self.route.shards,
                self.route.seed
            ),
        )
    }
}

impl ExecutionPlan for RouteExec {
    fn name(&self) -> &str {
        "RouteExec"
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
        let router = Router {
            route: self.route.clone(),
            schema: self.schema(),
            reading: MemoryConsumer::new("RouteExec").register(context.memory_pool()),
        };
        let input = self.input.execute(partition, context)?;
        let Some(images) = self.route.images else {
            let stream = input.map(move |batch| router.route(&batch?));
            let stream = RecordBatchStreamAdapter::new(self.schema(), stream);
            return Ok(Box::pin(stream));
        };
        let router = Arc::new(router);
        let rows_max = (PIXELS_BYTES / images.reader.numbers()).max(1);
        let stream = input.flat_map(move |batch| {
            let router = Arc::clone(&router);
            let parts = divided(batch, rows_max).into_iter();
            futures::stream::iter(parts.map(move |part| router.route(&part?)))
        });
        // Images take long, so other tasks of this thread have a turn after each part.
        let stream = stream.then(|part| async move {
            tokio::task::yield_now().await;
            part
        });
        let stream = RecordBatchStreamAdapter::new(self.schema(), stream);
        Ok(Box::pin(stream))
    }
}

/// Whether a column of a training holds the pixels of images.
pub(super) fn is_pixels(field: &Field) -> bool {
    matches!(field.data_type(), DataType::FixedSizeBinary(_))
}

/// Routes the rows of one partition.
struct Router {
    route: Route,
    schema: SchemaRef,
    /// The memory of the image that is read.
    reading: MemoryReservation,
}

impl Router {
    fn route(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let route = &self.route;
        let mut columns = Vec::with_capacity(route.columns.len() + 2);
        for (index, field) in &route.columns {
            let column = batch.column(*index);
            columns.push(match &route.images {
                Some(images) if is_pixels(field) => self.pixels(batch, *index, field, images)?,
                _ => canonical(column, field)?,
            });
        }
        let content = content_hashes(&columns.iter().collect::<Vec<_>>()).map_err(ml_err)?;
        let mut hashes = FixedSizeBinaryBuilder::with_capacity(content.len(), HASH_BYTES);
        let mut keys = Vec::with_capacity(content.len());
        for hash in content {
            hashes.append_value(hash.to_le_bytes())?;
            let shard = Placement::new(hash, route.seed).shard(route.shards);
            keys.push(route.keys[owner(shard, route.shards, route.workers())]);
        }
        columns.push(Arc::new(hashes.finish()));
        columns.push(Arc::new(Int64Array::from(keys)));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// The pixels of a column of images.
    fn pixels(
        &self,
        batch: &RecordBatch,
        index: usize,
        field: &Field,
        Reading {
            reader,
            skips_unreadable,
        }: &Reading,
    ) -> Result<ArrayRef> {
        let images = Images::of(batch.column(index)).map_err(ml_err)?;
        let bytes = batch.num_rows() * reader.numbers();
        self.reading.try_resize(bytes)?;
        let mut pixels = Vec::with_capacity(bytes);
        let mut valid = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let reading = images.reading_bytes(row, reader);
            self.reading.try_resize(bytes.saturating_add(reading))?;
            valid.push(match images.read(row, reader, &mut pixels) {
                Ok(is_there) => is_there,
                Err(_) if *skips_unreadable => {
                    pixels.resize((row + 1) * reader.numbers(), 0);
                    false
                }
                Err(cause) => return Err(self.unreadable(batch, row, (index, field), &cause)),
            });
        }
        self.reading.free();
        let valid = NullBuffer::from(valid);
        let valid = (valid.null_count() > 0).then_some(valid);
        let numbers = reader.numbers() as i32;
        let pixels = FixedSizeBinaryArray::try_new(numbers, Buffer::from_vec(pixels), valid)?;
        Ok(Arc::new(pixels))
    }

    /// The error for a row whose image cannot be read; other columns name the row.
    fn unreadable(
        &self,
        batch: &RecordBatch,
        row: usize,
        (index, field): (usize, &Field),
        cause: &str,
    ) -> DataFusionError {
        let columns = self.route.columns.iter();
        let simple =
            columns.filter(|(_, field)| !is_pixels(field) && !field.data_type().is_nested());
        let values = simple.take(NAMED_MAX).map(|(index, field)| {
            let value = array_value_to_string(batch.column(*index), row).unwrap_or_default();
            let value: String = value.chars().take(VALUE_CHARACTERS).collect();
            format!("{} = {value}", field.name())
        });
        let values: Vec<String> = values.collect();
        let with = match values.is_empty() {
            true => String::new(),
            false => format!(" with {}", values.join(", ")),
        };
        let name = field.name();
        let remedy = match batch.column(index).data_type() {
            DataType::Struct(_) => "; null_handling = 'skip' leaves such rows out".to_owned(),
            _ => format!(
                "; null_handling = 'skip' or WHERE try_decode_image({name}) IS NOT NULL leaves such rows out"
            ),
        };
        let message = format!("column \"{name}\" holds no image in a row{with}: {cause}{remedy}");
        sql_err(SqlState::InvalidParameter, message)
    }
}

/// A column in the type of a training.
fn canonical(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let column = canonical_array(column).map_err(ml_err)?;
    // The rows may differ from the planned type, for example in a column with only NULLs.
    Ok(match column.data_type() == field.data_type() {
        true => column,
        false => cast_with_options(&column, field.data_type(), &STRICT)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_has_a_key_that_leads_to_it() {
        for workers in [1, 2, 3, 8, 17, 64] {
            let keys = routing_keys(workers).unwrap();
            let array: ArrayRef = Arc::new(Int64Array::from(keys));
            let mut hashes = vec![0; workers];
            create_hashes(
                [&array],
                REPARTITION_RANDOM_STATE.random_state(),
                &mut hashes,
            )
            .unwrap();
            let ranks: Vec<u64> = hashes.iter().map(|hash| hash % workers as u64).collect();
            assert_eq!(ranks, (0..workers as u64).collect::<Vec<_>>());
        }
    }
}
