//! [`MergeExec`]: the operator that merges the nearest items of all partitions, which is the same search over fewer items.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, Float64Array};
use datafusion::arrow::datatypes::{FieldRef, Float64Type, Schema, SchemaRef, UInt64Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};

use super::best::{Best, Columns, Found};
use super::spec::queries_of_batch;
use crate::error::{SqlState, sql_err};
use crate::plan::display::write_operator;
use crate::plan::one_input::one_input;

#[derive(Debug)]
pub(super) struct MergeExec {
    input: Arc<dyn ExecutionPlan>,
    top_k: usize,
    properties: Arc<PlanProperties>,
}

impl MergeExec {
    /// Merges rows whose last two columns are the distance and the number of the query.
    pub(super) fn try_new(input: Arc<dyn ExecutionPlan>, top_k: usize) -> Result<Self> {
        let schema = input.schema();
        let Some((_number, fields)) = schema.fields().split_last() else {
            let message = "the input of a merge of nearest has no columns";
            return Err(sql_err(SqlState::Internal, message));
        };
        let fields: Vec<FieldRef> = fields.iter().map(Arc::clone).collect();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(Schema::new(fields))),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self {
            input,
            top_k,
            properties: Arc::new(properties),
        })
    }

    pub(super) fn top_k(&self) -> usize {
        self.top_k
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::try_new(input, self.top_k)?))
    }
}

impl DisplayAs for MergeExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_operator(
            f,
            format,
            "NearestMergeExec",
            format_args!("top_k={}", self.top_k),
        )
    }
}

impl ExecutionPlan for MergeExec {
    fn name(&self) -> &str {
        "NearestMergeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    one_input!();

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let (_distance, fields) = schema.fields().split_last().ok_or_else(no_distance)?;
        let merge = Merge {
            top_k: self.top_k,
            columns: Columns::try_new(fields.iter().map(Arc::clone).collect())?,
            memory: MemoryConsumer::new("NearestMergeExec").register(context.memory_pool()),
            schema: Arc::clone(&schema),
        };
        let input = self.input.execute(partition, context)?;
        let stream = futures::stream::once(merge.run(input)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

fn no_distance() -> datafusion::common::DataFusionError {
    sql_err(SqlState::Internal, "a merge of nearest has no distance")
}

struct Merge {
    top_k: usize,
    /// The columns of queries and items.
    columns: Columns,
    memory: MemoryReservation,
    schema: SchemaRef,
}

impl Merge {
    async fn run(
        self,
        mut input: SendableRecordBatchStream,
    ) -> Result<futures::stream::BoxStream<'static, Result<RecordBatch>>> {
        let mut best: BTreeMap<u64, Best> = BTreeMap::new();
        while let Some(batch) = input.next().await.transpose()? {
            self.add(&batch, &mut best)?;
            let held: usize = best.values().map(Best::bytes).sum();
            self.memory.try_resize(held)?;
        }
        let of_batch = queries_of_batch(self.top_k);
        let count = best.len().div_ceil(of_batch);
        let mut best = best.into_values();
        let batches = (0..count).map(move |_| {
            let found = best.by_ref().take(of_batch).flat_map(Best::into_sorted);
            self.batch(&found.collect::<Vec<Found>>())
        });
        Ok(futures::stream::iter(batches).boxed())
    }

    fn add(&self, batch: &RecordBatch, best: &mut BTreeMap<u64, Best>) -> Result<()> {
        let [columns @ .., distances, numbers] = batch.columns() else {
            return Err(no_distance());
        };
        let rows = self.columns.to_rows(columns)?;
        let distances = distances.as_primitive::<Float64Type>().values().iter();
        let numbers = numbers.as_primitive::<UInt64Type>().values().iter();
        for ((row, distance), number) in rows.iter().zip(distances).zip(numbers) {
            let best = best.entry(*number).or_default();
            best.offer(self.top_k, *distance, row.as_ref());
        }
        Ok(())
    }

    fn batch(&self, found: &[Found]) -> Result<RecordBatch> {
        let rows = found.iter().map(|found| &*found.row);
        let mut columns = self.columns.to_columns(rows)?;
        let distances = found.iter().map(|found| found.distance);
        columns.push(Arc::new(Float64Array::from_iter_values(distances)));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
