//! One attempt of a training on the executors: its job, its ranks, and which of the two says how it ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;

use super::Cluster;
use super::backend::LOOK;
use super::rendezvous::Outcome;
use super::stages::travels;
use crate::error::{Result, SqlState, report};
use crate::progress::{ProgressEvent, ProgressListener};
use crate::train::TrainTask;

/// What a rank says before its task ends arrives within this time.
const LAST_WORDS: Duration = Duration::from_millis(200);

impl Cluster {
    /// Whether the ranks of a training can read their rows on executors.
    pub(crate) fn takes(&self, plan: &Arc<dyn ExecutionPlan>, config: &SessionConfig) -> bool {
        travels(plan, config)
    }

    /// Runs all ranks of a training, and returns what rank 0 said.
    pub(crate) async fn train(
        self: &Arc<Self>,
        plan: Arc<dyn ExecutionPlan>,
        task: &TrainTask,
        config: &SessionConfig,
        listener: Option<ProgressListener>,
    ) -> Result<String, TrainingFailure> {
        let model = task.model.clone();
        let watcher = listener.clone().map(|listener| {
            let watch = move |progress| {
                let model = model.clone();
                listener(ProgressEvent::Training { model, progress });
            };
            Arc::new(watch) as _
        });
        let mut opened = self.coordinator.open(&task.run_id, task.workers, watcher);
        let mut config = config.clone();
        let options = config.options_mut();
        // One rank a task.
        options.set("ballista.scheduler.max_partitions_per_task", "1")?;
        let name = format!("train {}", task.model);
        let running = self.run(plan, &config, &name, listener.as_ref());
        tokio::pin!(running);
        let finished = tokio::select! {
            result = &mut running => Some(result.map(|_| ())),
            // Waiting for slots that are gone would last for ever.
            () = self.shrunk(task, &name, listener.as_ref()) => return Err(TrainingFailure::Lost("executors left".into())),
            // Ballista may hear of it later, or never.
            _ = opened.outcome() => None,
        };
        // What the ranks said counts for more than what became of the job, and may be on its way.
        if finished.is_some() {
            let _ = tokio::time::timeout(LAST_WORDS, opened.outcome()).await;
        }
        match (opened.outcome_now(), finished) {
            (Some(Outcome::Done(result)), finished) => {
                if finished.is_none() {
                    // Its last tasks report that they are done; a job that is dropped now would be cancelled.
                    let _ = tokio::time::timeout(LOOK, &mut running).await;
                }
                Ok(result)
            }
            (Some(Outcome::Failed(error)), _) => Err(TrainingFailure::Error(error.into())),
            (Some(Outcome::Lost(what)), _) => {
                self.counters.attempts_lost.fetch_add(1, Ordering::Relaxed);
                opened.emptied().await;
                Err(TrainingFailure::Lost(what))
            }
            (Some(Outcome::Cancelled) | None, Some(Err(error))) => match report(&error).state {
                // The cluster's own error: the job failed before its ranks met.
                SqlState::Internal => Err(TrainingFailure::Lost(report(&error).message)),
                _ => Err(TrainingFailure::Error(error)),
            },
            (Some(Outcome::Cancelled) | None, _) => {
                let message = "the ranks of a training ended without a word";
                Err(TrainingFailure::Lost(message.into()))
            }
        }
    }

    /// Tells of a training that waits for slots; returns when it needs more than there are.
    async fn shrunk(&self, task: &TrainTask, name: &str, listener: Option<&ProgressListener>) {
        loop {
            tokio::time::sleep(LOOK).await;
            if !self.coordinator.is_joining(&task.run_id) {
                continue;
            }
            if self.gang.slots().await < task.workers {
                return;
            }
            let executors = self.executors().await;
            let free: u64 = executors.iter().map(|executor| executor.free_slots).sum();
            let jobs = self.jobs().await;
            // While its query runs, that is what is shown.
            let is_idle = jobs
                .iter()
                .all(|job| job.name != name || job.tasks_running == 0);
            if let Some(listener) = listener
                && is_idle
                && (free as usize) < task.workers
            {
                let what = format!("{} free slots, {free} are", task.workers);
                listener(ProgressEvent::Waiting { what });
            }
        }
    }
}

/// Why a training on a cluster has no result.
pub(crate) enum TrainingFailure {
    /// It would fail again.
    Error(DataFusionError),
    /// A machine was lost; it can begin again.
    Lost(String),
}

impl From<DataFusionError> for TrainingFailure {
    fn from(error: DataFusionError) -> Self {
        Self::Error(error)
    }
}
