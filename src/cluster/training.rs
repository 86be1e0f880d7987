//! [`ClusterRunner`]: one attempt of a training on executors; its outcome comes from the ranks, else from the job.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;

use super::attempts::is_stable;
use super::backend::CHECK_INTERVAL;
use super::liveness::Machines;
use super::rendezvous::{Outcome, RankReport};
use super::services::Cluster;
use super::stages::travels;
use crate::error::{Result, SqlState, report};
use crate::progress::{ProgressEvent, ProgressListener};
use crate::train::{Ranks, SlotsWanted, TrainRunner, TrainTask, TrainingFailure};

/// The last message of a rank before the end of its task arrives within this time.
const LAST_MESSAGE_TIMEOUT: Duration = Duration::from_millis(200);

/// Runs ranks as tasks of executors.
#[derive(Debug)]
pub(crate) struct ClusterRunner(pub(crate) Arc<Cluster>);

#[async_trait]
impl TrainRunner for ClusterRunner {
    async fn slots(
        &self,
        wanted: SlotsWanted,
        wait_s: usize,
        listener: Option<&ProgressListener>,
    ) -> Result<Option<usize>> {
        self.0.slots(wanted, wait_s, listener).await.map(Some)
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
    /// Runs all ranks of a training, and returns the result of rank 0.
    async fn train(self: &Arc<Self>, ranks: Ranks<'_>) -> Result<String, TrainingFailure> {
        let Ranks {
            plan,
            task,
            context,
            listener,
        } = ranks;
        let _done = listener.clone().map(Done);
        let watcher = listener.clone().map(|listener| {
            let model = task.model.clone();
            let watch = move |seen: RankReport| {
                let model = model.clone();
                listener(match seen {
                    RankReport::Rows(rows) => ProgressEvent::Reading { model, rows },
                    RankReport::Progress(progress) => ProgressEvent::Training { model, progress },
                });
            };
            Arc::new(watch) as _
        });
        // The rows that ranks have read must not be mixed with other ones.
        let reads_once = !is_stable(&plan).unwrap_or(false);
        let mut opened = self
            .coordinator
            .open(&task.run_id, task.workers, reads_once, watcher);
        let executors = self.placement.executor_ids().await;
        let mut config = context.session_config().clone();
        let options = config.options_mut();
        // One rank per task.
        options.set("ballista.scheduler.max_partitions_per_task", "1")?;
        let name = format!("train {}", task.model);
        let running = self.run(plan, &config, &name, listener.as_ref());
        tokio::pin!(running);
        let finished = tokio::select! {
            result = &mut running => Some(result.map(|_| ())),
            // The training would wait forever for slots that are gone.
            () = self.wait_until_shrunk(task, &name, listener.as_ref()) => {
                self.counters.attempts_lost.fetch_add(1, Ordering::Relaxed);
                return Err(TrainingFailure::Lost("executors left".into()));
            }
            // Ballista may learn of the outcome later, or never.
            _ = opened.outcome() => None,
        };
        // The outcome of the ranks takes precedence over the result of the job, and may still be in transit.
        if finished.is_some() {
            let _ = tokio::time::timeout(LAST_MESSAGE_TIMEOUT, opened.outcome()).await;
        }
        let outcome = opened.outcome_now();
        match outcome {
            // The last tasks still report that they are done; dropping the job now would cancel it.
            Some(Outcome::Done(_)) if finished.is_none() => {
                let _ = tokio::time::timeout(CHECK_INTERVAL, &mut running).await;
            }
            Some(Outcome::Lost(_)) => {
                self.counters.attempts_lost.fetch_add(1, Ordering::Relaxed);
                opened.emptied().await;
            }
            _ => {}
        }
        let machines = match (&outcome, &finished) {
            (Some(Outcome::Cancelled) | None, Some(Err(error))) => {
                self.placement.machines_after(error, &executors).await
            }
            _ => Machines::AllThere,
        };
        result_of(outcome, finished, machines)
    }

    /// Reports a training that waits for slots; returns when the training needs more slots than the cluster has.
    async fn wait_until_shrunk(
        &self,
        task: &TrainTask,
        name: &str,
        listener: Option<&ProgressListener>,
    ) {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            if !self.coordinator.is_joining(&task.run_id) {
                continue;
            }
            if self.placement.slots().await < task.workers {
                return;
            }
            let executors = self.executors().await;
            let free: u64 = executors.iter().map(|executor| executor.free_slots).sum();
            let jobs = self.jobs().await;
            // While the query of the training runs, the progress of the query is shown.
            let is_idle = jobs
                .iter()
                .all(|job| job.name != name || job.tasks_running == 0);
            if let Some(listener) = listener
                && is_idle
                && (free as usize) < task.workers
            {
                let what = format!("{} free slots; {free} are free", task.workers);
                listener(ProgressEvent::Waiting { what });
            }
        }
    }
}

/// The result of an attempt: what the ranks reported counts for more than how their job ended, which is `None` if the job
/// still ran when the ranks had ended.
fn result_of(
    outcome: Option<Outcome>,
    job: Option<Result<()>>,
    machines: Machines,
) -> Result<String, TrainingFailure> {
    match (outcome, job) {
        (Some(Outcome::Done(result)), _) => Ok(result),
        (Some(Outcome::Failed(error)), _) => Err(TrainingFailure::Error(error.into())),
        (Some(Outcome::Lost(what)), _) => Err(TrainingFailure::Lost(what)),
        // The job failed before its ranks met.
        (Some(Outcome::Cancelled) | None, Some(Err(error))) => {
            let found = report(&error);
            match (found.state, machines) {
                // A rank lost the engine, or tasks or rows were lost with their executor.
                (SqlState::Peer, _)
                | (SqlState::Internal | SqlState::NoResources, Machines::SomeLost) => {
                    Err(TrainingFailure::Lost(found.message))
                }
                _ => Err(TrainingFailure::Error(error)),
            }
        }
        (Some(Outcome::Cancelled) | None, _) => {
            let message = "the ranks of a training ended without a result";
            Err(TrainingFailure::Lost(message.into()))
        }
    }
}

/// Sends the last event to a listener.
struct Done(ProgressListener);

impl Drop for Done {
    fn drop(&mut self) {
        (self.0)(ProgressEvent::Done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{SqlError, sql_err};

    fn error(state: SqlState) -> SqlError {
        report(&sql_err(state, "x"))
    }

    /// `Ok` with the result, or whether the attempt is repeated.
    fn ended(
        outcome: Option<Outcome>,
        job: Option<Result<()>>,
        machines: Machines,
    ) -> Result<String, bool> {
        let result = result_of(outcome, job, machines);
        result.map_err(|failure| matches!(failure, TrainingFailure::Lost(_)))
    }

    #[test]
    fn what_the_ranks_report_counts_for_more_than_how_the_job_ended() {
        let done = || Some(Outcome::Done("result".into()));
        let broken = || Some(Err(sql_err(SqlState::Io, "the job is gone")));
        let ended = |outcome, job| ended(outcome, job, Machines::SomeLost);
        assert_eq!(ended(done(), broken()), Ok("result".into()));
        assert_eq!(ended(done(), None), Ok("result".into()));
        let failed = Outcome::Failed(error(SqlState::InvalidParameter));
        assert_eq!(ended(Some(failed), Some(Ok(()))), Err(false));
        let lost = Outcome::Lost("executor 1".into());
        assert_eq!(ended(Some(lost), broken()), Err(true));
    }

    #[test]
    fn a_job_that_fails_before_its_ranks_meet_is_repeated_only_after_a_loss() {
        let job = |state| Some(Err(sql_err(state, "x")));
        for (state, machines, is_repeated) in [
            (SqlState::Syntax, Machines::AllThere, false),
            (SqlState::Syntax, Machines::SomeLost, false),
            (SqlState::Internal, Machines::AllThere, false),
            (SqlState::Internal, Machines::SomeLost, true),
            (SqlState::NoResources, Machines::AllThere, false),
            (SqlState::NoResources, Machines::SomeLost, true),
            (SqlState::Peer, Machines::AllThere, true),
        ] {
            let repeated = ended(None, job(state), machines);
            assert_eq!(repeated, Err(is_repeated), "{state:?} {machines:?}");
            let repeated = ended(Some(Outcome::Cancelled), job(state), machines);
            assert_eq!(repeated, Err(is_repeated), "{state:?} {machines:?}");
        }
        assert_eq!(ended(None, Some(Ok(())), Machines::AllThere), Err(true));
        assert_eq!(ended(None, None, Machines::AllThere), Err(true));
    }
}
