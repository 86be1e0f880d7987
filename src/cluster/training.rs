//! One attempt of a training on the executors: its job, its ranks, and which of the two says how it ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;

use super::backend::LOOK;
use super::rendezvous::Outcome;
use super::services::Cluster;
use super::stages::travels;
use crate::error::{Result, SqlState, report};
use crate::progress::{ProgressEvent, ProgressListener};
use crate::train::{Ranks, TrainRunner, TrainTask, TrainingFailure};

/// What a rank says before its task ends arrives within this time.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Ranks that are tasks of executors.
#[derive(Debug)]
pub(crate) struct ClusterRunner(pub(crate) Arc<Cluster>);

#[async_trait]
impl TrainRunner for ClusterRunner {
    async fn slots(
        &self,
        wait_s: usize,
        listener: Option<&ProgressListener>,
    ) -> Result<Option<usize>> {
        self.0.slots(wait_s, listener).await.map(Some)
    }

    fn port(&self) -> Option<u16> {
        Some(self.0.rendezvous_port())
    }

    fn takes(&self, ranks: &Ranks<'_>) -> bool {
        travels(&ranks.plan, ranks.context.session_config())
    }

    async fn run(&self, ranks: Ranks<'_>) -> Result<String, TrainingFailure> {
        self.0.train(ranks).await
    }
}

impl Cluster {
    /// Runs all ranks of a training, and returns what rank 0 said.
    async fn train(self: &Arc<Self>, ranks: Ranks<'_>) -> Result<String, TrainingFailure> {
        let Ranks {
            plan,
            task,
            context,
            listener,
        } = ranks;
        let config = context.session_config();
        let _done = listener.clone().map(Done);
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
            if self.placement.slots().await < task.workers {
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

/// Tells a listener that nothing more will come.
struct Done(ProgressListener);

impl Drop for Done {
    fn drop(&mut self) {
        (self.0)(ProgressEvent::Done);
    }
}
