//! [`RouteExec`]: physical operator that casts the columns of a training to canonical types, and appends a content hash
//! and a routing key to each row. By the key, hash repartitioning sends the row to the rank that owns its shard.
//!
//! DataFusion repartitions rows only by its own hash, which would spread a few shards unevenly over the ranks. So each
//! rank has an integer key, found by search, whose hash selects that rank.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, FixedSizeBinaryBuilder, Int64Array};
use datafusion::arrow::compute::cast_with_options;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::hash_utils::create_hashes;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::repartition::REPARTITION_RANDOM_STATE;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;
use vatic_ml::data::coerce::canonical_array;
use vatic_ml::train::shard::{Placement, content_hashes, owner};

use crate::error::{Result, SqlState, ml_err, sql_err};
use crate::plan::functions::STRICT;
use crate::plan::one_input::one_input;

/// The name of the column with the content hash.
pub(super) const HASH_COLUMN: &str = "__row_hash";
/// The name of the column that the rows are repartitioned by.
pub(super) const KEY_COLUMN: &str = "__routing_key";
const HASH_BYTES: i32 = 16;

/// The mapping of rows to ranks.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// The columns to keep: index in the input, name and canonical type.
    pub(super) columns: Vec<(usize, Field)>,
    pub(super) seed: u64,
    pub(super) shards: usize,
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
            keys: Arc::new(routing_keys(workers)?),
        })
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
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .route
            .columns
            .iter()
            .map(|(_, field)| field.name().as_str())
            .collect();
        write!(
            f,
            "RouteExec: columns=[{}], shards={}, seed={}",
            names.join(", "),
            self.route.shards,
            self.route.seed
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
        let (route, schema) = (self.route.clone(), self.schema());
        let input = self.input.execute(partition, context)?;
        let stream = input.map(move |batch| route_batch(&batch?, &route, &schema));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            stream,
        )))
    }
}

fn route_batch(batch: &RecordBatch, route: &Route, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(route.columns.len() + 2);
    for (index, field) in &route.columns {
        let column = canonical_array(batch.column(*index)).map_err(ml_err)?;
        // The rows may differ from the planned type, for example in a column with only NULLs.
        columns.push(match column.data_type() == field.data_type() {
            true => column,
            false => cast_with_options(&column, field.data_type(), &STRICT)?,
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
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
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
