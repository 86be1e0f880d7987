//! [`Queries`]: the vectors that are searched for, with their other columns. All partitions of a search share them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::UInt32Array;
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt};

use super::best::Columns;
use super::block::Block;
use super::spec::Spec;
use crate::error::{Result, SqlState, sql_err};
use crate::memory::Buffers;

/// The copies of the queries while they are put in order: the batches, one batch of them, its rows as bytes, and the ordered batch.
const COPIES: usize = 3;

/// The queries in the order of their columns: so each task on an executor gives them the same numbers.
pub(super) struct Queries {
    /// All columns.
    pub(super) batch: RecordBatch,
    pub(super) block: Block,
    _memory: MemoryReservation,
}

type Collecting = Shared<BoxFuture<'static, Result<Arc<Queries>, Arc<DataFusionError>>>>;

/// The queries of a search; `None` until the first partition asks for them.
#[derive(Default)]
pub(super) struct SharedQueries(Mutex<Option<Collecting>>);

impl fmt::Debug for SharedQueries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedQueries")
    }
}

impl SharedQueries {
    /// The queries; the first call starts the task that reads them, which waits for no partition.
    pub(super) fn get(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        spec: Spec,
        context: Arc<TaskContext>,
    ) -> Collecting {
        let mut queries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || {
            let memory = MemoryConsumer::new("queries of nearest").register(context.memory_pool());
            let task = SpawnedTask::spawn(collect(Arc::clone(input), spec, context, memory));
            let joined = async move {
                let ended = |error| sql_err(SqlState::Internal, format!("a query ended: {error}"));
                let queries = task.join().await.map_err(ended).flatten();
                queries.map(Arc::new).map_err(Arc::new)
            };
            joined.boxed().shared()
        };
        queries.get_or_insert_with(start).clone()
    }
}

async fn collect(
    input: Arc<dyn ExecutionPlan>,
    spec: Spec,
    context: Arc<TaskContext>,
    memory: MemoryReservation,
) -> Result<Queries> {
    let schema = input.schema();
    let mut stream = input.execute(0, context)?;
    let (mut batches, mut buffers, mut bytes) = (Vec::new(), Buffers::default(), 0);
    while let Some(batch) = stream.next().await.transpose()? {
        let of_batch = buffers.add(&batch);
        memory.try_grow((1 + COPIES) * of_batch)?;
        bytes += of_batch;
        batches.push(batch);
    }
    let batch = concat_batches(&schema, &batches)?;
    drop(batches);
    let columns = Columns::try_new(schema.fields().iter().map(Arc::clone).collect())?;
    let rows = columns.to_rows(batch.columns())?;
    let mut order: Vec<u32> = (0..batch.num_rows() as u32).collect();
    order.sort_by(|left, right| rows.row(*left as usize).cmp(&rows.row(*right as usize)));
    let batch = take_record_batch(&batch, &UInt32Array::from(order))?;
    drop(rows);
    let block = Block::try_new(batch.column(spec.query_vector), spec.metric, None)?;
    memory.try_resize(bytes + block.bytes())?;
    Ok(Queries {
        batch,
        block,
        _memory: memory,
    })
}
