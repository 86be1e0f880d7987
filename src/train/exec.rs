//! [`TrainExec`]: one partition is one rank. It drains its shards, trains with the other ranks, and returns one row.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use vatic_ml::artifact::{self, ModelFile};
use vatic_ml::collective::{Collective, LocalCollective};
use vatic_ml::fit::{Control, Progress, TrainSpec, fit};
use vatic_ml::labels::Labels;
use vatic_ml::prepare::RankRows;
use vatic_ml::worker;

use super::progress::{ProgressListener, TrainEvent};
use crate::error::{Result, SqlState, ml_err, sql_err};
use crate::model::RunSummary;
use crate::model::cache::ModelRuntime;

/// What rank 0 says of a training that succeeded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RankResult {
    pub(super) run: RunSummary,
    pub(super) labels: Labels,
    pub(super) files: Vec<ModelFile>,
}

/// Where the ranks of the trainings of this process meet, by run.
#[derive(Debug, Default)]
pub(crate) struct Gang {
    runs: Mutex<HashMap<String, Arc<Run>>>,
}

/// One training: the places of its ranks, and how it is stopped and watched.
pub(super) struct Run {
    places: Mutex<Vec<Option<LocalCollective>>>,
    pub(super) control: Control,
    model: String,
    listener: Option<ProgressListener>,
    rows: AtomicU64,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl Gang {
    /// Opens a run for so many ranks. Dropping the membership stops them.
    pub(super) fn open(
        self: &Arc<Self>,
        run_id: &str,
        model: &str,
        workers: usize,
        listener: Option<ProgressListener>,
    ) -> Membership {
        let mut control = Control::default();
        if let Some(listener) = listener.clone() {
            let (model, cancelled) = (model.to_owned(), Arc::clone(&control.cancelled));
            control.progress = Some(Arc::new(move |progress: Progress| {
                // A worker may still be in its last step when the shell has moved on.
                if !cancelled.load(Ordering::Relaxed) {
                    listener(TrainEvent::Training {
                        model: model.clone(),
                        progress,
                    });
                }
            }));
        }
        let run = Arc::new(Run {
            places: Mutex::new(
                LocalCollective::group(workers)
                    .into_iter()
                    .map(Some)
                    .collect(),
            ),
            control,
            model: model.into(),
            listener,
            rows: AtomicU64::new(0),
        });
        self.lock().insert(run_id.into(), Arc::clone(&run));
        Membership {
            gang: Arc::clone(self),
            run_id: run_id.into(),
            run,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, run_id: &str, rank: usize) -> Result<(Arc<Run>, LocalCollective)> {
        let gone = || {
            sql_err(
                SqlState::Internal,
                format!("training {run_id} has no place for worker {rank}"),
            )
        };
        let run = self.lock().get(run_id).cloned().ok_or_else(gone)?;
        let mut places = run.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places
            .get_mut(rank)
            .and_then(Option::take)
            .ok_or_else(gone)?;
        drop(places);
        Ok((run, place))
    }
}

/// Keeps a run open.
#[derive(Debug)]
pub(super) struct Membership {
    gang: Arc<Gang>,
    run_id: String,
    run: Arc<Run>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.run.control.cancelled.store(true, Ordering::Relaxed);
        self.gang.lock().remove(&self.run_id);
        // Places that no rank took would let the others wait.
        self.run
            .places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        if let Some(listener) = &self.run.listener {
            listener(TrainEvent::Done);
        }
    }
}

/// What all ranks of a training know.
#[derive(Debug, Clone)]
pub(super) struct TrainTask {
    pub(super) run_id: String,
    pub(super) model: String,
    pub(super) spec: Arc<TrainSpec>,
    pub(super) workers: usize,
    /// Where rank 0 writes the files. The driver owns it: once it is gone, a late rank cannot write.
    pub(super) target: PathBuf,
}

/// A directory of files that is deleted unless it is kept.
#[derive(Debug)]
pub(super) struct BlobGuard {
    pub(super) path: PathBuf,
    pub(super) is_kept: std::sync::atomic::AtomicBool,
}

impl Drop for BlobGuard {
    fn drop(&mut self) {
        if !self.is_kept.load(Ordering::Relaxed) {
            // What cannot be removed now is an orphan, and removed a day later.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[derive(Debug)]
pub(super) struct TrainExec {
    input: Arc<dyn ExecutionPlan>,
    task: TrainTask,
    properties: Arc<PlanProperties>,
}

impl TrainExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, task: TrainTask) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema()),
            Partitioning::UnknownPartitioning(task.workers),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            input,
            task,
            properties: Arc::new(properties),
        }
    }
}

/// (rank, result as JSON; only rank 0 has one)
fn schema() -> SchemaRef {
    let rank = Field::new("rank", DataType::Int64, false);
    Arc::new(Schema::new(vec![
        rank,
        Field::new("result", DataType::Utf8, true),
    ]))
}

impl DisplayAs for TrainExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.task.spec.options;
        write!(
            f,
            "TrainExec: model={}, type={}, workers={} (barrier), shards={}, seed={}, device=cpu",
            self.task.model,
            options.model_type,
            self.task.workers,
            self.task.spec.shards,
            options.seed
        )
    }
}

impl ExecutionPlan for TrainExec {
    fn name(&self) -> &str {
        "TrainExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(
            children.swap_remove(0),
            self.task.clone(),
        )))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let config = context.session_config();
        let missing = || sql_err(SqlState::Internal, "this process cannot train models");
        let gang = config.get_extension::<Gang>().ok_or_else(missing)?;
        let runtime = config.get_extension::<ModelRuntime>().ok_or_else(missing)?;
        let (run, collective) = gang.join(&self.task.run_id, partition)?;
        let reservation = MemoryConsumer::new("TrainExec").register(context.memory_pool());
        let input = self.input.execute(partition, context)?;
        let rank = Rank {
            task: self.task.clone(),
            rank: partition,
            run,
            runtime,
            collective,
            reservation,
        };
        let work = futures::stream::once(rank.work(input));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema(), work)))
    }
}

/// One rank at work.
struct Rank {
    task: TrainTask,
    rank: usize,
    run: Arc<Run>,
    runtime: Arc<ModelRuntime>,
    collective: LocalCollective,
    reservation: MemoryReservation,
}

impl Rank {
    async fn work(mut self, input: SendableRecordBatchStream) -> Result<RecordBatch> {
        let started = Instant::now();
        let rows = self.drain(input).await?;
        let rank = self.rank;
        let duration_ms = started.elapsed().as_millis() as u64;
        tracing::info!(rank, duration_ms, "read the rows of a training");
        let (sender, receiver) = oneshot::channel();
        worker::spawn(&format!("vatic-train-{rank}"), move || {
            // Nobody waits for a training that was cancelled.
            let _ = sender.send(worker::catch(|| self.train(rows, started)));
        })
        .map_err(ml_err)?;
        let ended = || {
            sql_err(
                SqlState::Internal,
                "a worker of a training ended without a result",
            )
        };
        let result = receiver.await.map_err(|_| ended())?.map_err(ml_err)?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![rank as i64])),
            Arc::new(StringArray::from(vec![result])),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }

    /// Takes the rows of this rank's shards.
    async fn drain(&mut self, mut input: SendableRecordBatchStream) -> Result<RankRows> {
        let mut rows = RankRows::default();
        while let Some(batch) = input.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            self.reservation.try_grow(batch.get_array_memory_size())?;
            let columns = batch.num_columns() - 2;
            let hashes = batch.column(columns).as_fixed_size_binary();
            let hash = |bytes: &[u8]| bytes.try_into().map(u128::from_le_bytes);
            let hashes: Result<Vec<u128>, _> = hashes.iter().flatten().map(hash).collect();
            rows.hashes.push(
                hashes.map_err(|_| sql_err(SqlState::Internal, "a row hash of another length"))?,
            );
            rows.batches
                .push(batch.project(&(0..columns).collect::<Vec<_>>())?);
            self.report(batch.num_rows() as u64);
        }
        Ok(rows)
    }

    fn report(&self, rows: u64) {
        let rows = self.run.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        if let Some(listener) = &self.run.listener {
            listener(TrainEvent::Reading {
                model: self.run.model.clone(),
                rows,
            });
        }
    }

    /// Runs on a thread of its own.
    fn train(self, rows: RankRows, started: Instant) -> vatic_ml::Result<Option<String>> {
        let options = &self.task.spec.options;
        let unknown = || {
            vatic_ml::Error::Unsupported(format!(
                "model type \"{}\" is not known",
                options.model_type
            ))
        };
        let model_type = self
            .runtime
            .model_type(&options.model_type)
            .ok_or_else(unknown)?;
        let trained = fit(
            &self.task.spec,
            model_type,
            rows,
            &self.collective,
            &self.run.control,
        )?;
        if self.rank != 0 {
            // Nobody leaves before rank 0 has written: a rank that leaves early would look like one that failed.
            self.collective.barrier()?;
            return Ok(None);
        }
        let files = artifact::write(&trained, model_type, &self.task.target)?;
        self.collective.barrier()?;
        let run = RunSummary {
            train_rows: trained.train_rows,
            eval_rows: trained.eval_rows,
            skipped_rows: trained.skipped_rows,
            train_loss: trained.train_loss,
            eval_loss: trained.eval_loss,
            metrics: trained.metrics,
            history: trained.history,
            duration_ms: started.elapsed().as_millis() as u64,
            device: "cpu".into(),
            workers: self.task.workers,
            shards: self.task.spec.shards,
            batch_size: trained.batch_size,
            optimizer: trained.optimizer.name().into(),
            rows_hash: format!("{:032x}", trained.rows_hash),
        };
        let result = RankResult {
            run,
            labels: trained.config.labels,
            files,
        };
        let text = serde_json::to_string(&result)
            .map_err(|error| vatic_ml::Error::Internal(error.to_string()))?;
        Ok(Some(text))
    }
}
