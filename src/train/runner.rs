//! [`TrainRunner`], the trait that runs the ranks of a training; [`LocalRunner`], which runs them in this process.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::TryStreamExt;

use super::exec::TrainExec;
use super::rendezvous::LocalRendezvous;
use super::task::{RankResult, TrainTask};
use crate::error::{Result, SqlError, SqlState, report, sql_err};
use crate::progress::ProgressListener;

/// The ranks of one attempt.
pub(crate) struct Ranks<'a> {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) task: &'a TrainTask,
    pub(crate) context: Arc<TaskContext>,
    pub(crate) listener: Option<ProgressListener>,
}

/// The slots for which a statement waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SlotsWanted {
    /// At least this number.
    AtLeast(usize),
    /// The slots of all executors that are joining, or this number.
    AllThatJoin { enough: usize },
}

/// Runs the ranks of trainings, in this process or on a cluster.
#[async_trait]
pub(crate) trait TrainRunner: Debug + Send + Sync {
    /// The number of ranks that can run at once, which may be less than wanted; `None` for any number. Waits at most
    /// `wait_s` seconds for the wanted slots.
    async fn slots(
        &self,
        wanted: SlotsWanted,
        wait_s: usize,
        listener: Option<&ProgressListener>,
    ) -> Result<Option<usize>>;

    /// The port on this host at which remote ranks join a training; `None` without a cluster.
    fn port(&self) -> Option<u16>;

    /// Whether the ranks can read their rows where this runner runs them.
    fn takes(&self, ranks: &Ranks<'_>) -> bool;

    /// Runs all ranks, and returns the result of rank 0 as JSON.
    async fn run(&self, ranks: Ranks<'_>) -> Result<String, TrainingFailure>;
}

/// Why a training has no result.
pub(crate) enum TrainingFailure {
    /// An error that another attempt would meet again.
    Error(DataFusionError),
    /// A machine was lost; another attempt may succeed.
    Lost(String),
}

impl From<DataFusionError> for TrainingFailure {
    fn from(error: DataFusionError) -> Self {
        Self::Error(error)
    }
}

/// Runs the ranks as threads of this process.
#[derive(Debug)]
pub(crate) struct LocalRunner(pub(crate) Arc<LocalRendezvous>);

#[async_trait]
impl TrainRunner for LocalRunner {
    async fn slots(
        &self,
        _wanted: SlotsWanted,
        _wait_s: usize,
        _listener: Option<&ProgressListener>,
    ) -> Result<Option<usize>> {
        Ok(None)
    }

    fn port(&self) -> Option<u16> {
        None
    }

    fn takes(&self, _ranks: &Ranks<'_>) -> bool {
        true
    }

    async fn run(&self, ranks: Ranks<'_>) -> Result<String, TrainingFailure> {
        Ok(run_here(&self.0, &ranks).await?)
    }
}

/// Runs all ranks where they can read their rows, and returns the result of rank 0.
pub(crate) async fn run_ranks(
    runner: &dyn TrainRunner,
    local: &LocalRunner,
    exec: &Arc<TrainExec>,
    context: Arc<TaskContext>,
    listener: Option<ProgressListener>,
) -> Result<RankResult, TrainingFailure> {
    let ranks = Ranks {
        plan: Arc::clone(exec) as _,
        task: exec.task(),
        context,
        listener,
    };
    // If the rows exist only in this process, the ranks run here; the result is the same.
    let text = match runner.takes(&ranks) {
        true => runner.run(ranks).await?,
        false => local.run(ranks).await?,
    };
    serde_json::from_str(&text).map_err(|error| lost_result(&error.to_string()).into())
}

/// Runs all ranks side by side in this process.
async fn run_here(rendezvous: &Arc<LocalRendezvous>, ranks: &Ranks<'_>) -> Result<String> {
    let (task, plan, context) = (ranks.task, &ranks.plan, &ranks.context);
    let listener = ranks.listener.clone();
    let _open = rendezvous.open(&task.run_id, &task.model, task.workers, listener);
    let results = rows_of_ranks(plan, context).await?;
    let is_peer = |error: &SqlError| error.state == SqlState::Peer;
    let failures = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .map(report);
    // Report the error that made the training fail, not the errors of ranks that stopped because of it.
    if let Some(error) = failures
        .clone()
        .find(|error| !is_peer(error))
        .or(failures.into_iter().next())
    {
        return Err(error.into());
    }
    let mut texts = results.into_iter().flatten().flatten().filter_map(|batch| {
        let column = batch.column(1).as_string::<i32>().clone();
        column.iter().flatten().next().map(str::to_owned)
    });
    texts
        .next()
        .ok_or_else(|| lost_result("no worker returned one"))
}

/// What each rank returns. If one cannot begin, none does: the others would wait for it.
async fn rows_of_ranks(
    plan: &Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
) -> Result<Vec<Result<Vec<RecordBatch>>>> {
    let ranks = 0..plan.output_partitioning().partition_count();
    let streams = ranks.map(|rank| plan.execute(rank, Arc::clone(context)));
    let streams = streams.collect::<Result<Vec<_>>>()?;
    let rows = streams
        .into_iter()
        .map(|rows| rows.try_collect::<Vec<RecordBatch>>());
    Ok(futures::future::join_all(rows).await)
}

fn lost_result(problem: &str) -> DataFusionError {
    sql_err(
        SqlState::Internal,
        format!("a training has no valid result: {problem}"),
    )
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use datafusion::execution::SendableRecordBatchStream;
    use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
    use datafusion::physical_plan::union::UnionExec;
    use futures::FutureExt;

    use super::*;

    /// A rank that waits for another one.
    #[derive(Debug)]
    struct Waits(SchemaRef);

    impl PartitionStream for Waits {
        fn schema(&self) -> &SchemaRef {
            &self.0
        }

        fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
            let schema = Arc::clone(&self.0);
            let rows = futures::stream::pending();
            Box::pin(RecordBatchStreamAdapter::new(schema, rows))
        }
    }

    #[test]
    fn no_rank_waits_for_one_that_cannot_begin() {
        let rank = Field::new("rank", DataType::Int64, false);
        let schema = Arc::new(Schema::new(vec![rank]));
        let ranks: Vec<Arc<dyn PartitionStream>> = vec![Arc::new(Waits(Arc::clone(&schema)))];
        let waits =
            StreamingTableExec::try_new(Arc::clone(&schema), ranks, None, Vec::new(), false, None);
        // It begins only if its input has a partition.
        let fails =
            CoalescePartitionsExec::new(Arc::new(EmptyExec::new(schema).with_partitions(0)));
        let plans: Vec<Arc<dyn ExecutionPlan>> = vec![Arc::new(waits.unwrap()), Arc::new(fails)];
        let plan = UnionExec::try_new(plans).unwrap();
        let ended = rows_of_ranks(&plan, &Arc::default()).now_or_never();
        let error = ended.unwrap().unwrap_err();
        assert!(error.to_string().contains("input partition"), "{error}");
    }
}
