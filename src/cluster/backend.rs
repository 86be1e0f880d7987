//! [`DistributedExec`]: runs a plan on the executors and returns its rows.
//!
//! ```text
//! DataSinkExec, SortPreservingMergeExec, …   in the engine's process: operators that merge all partitions, or write
//!   DistributedExec                          has the partitions of the job
//!     ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─
//!     everything that reads and computes     on the executors
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ballista_core::JobId;
use ballista_core::serde::protobuf::{JobStatus, SuccessfulJob, job_status};
use ballista_scheduler::cluster::JobState;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::sink::DataSinkExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    replace_children_if_necessary,
};
use datafusion::prelude::SessionConfig;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::attempts::{Jobs, rows_of};
use super::errors::job_err;
use super::job::Job;
use super::services::Cluster;
use super::stages::{is_source, job_config, may_be_cut, travels};
use crate::config::VaticOptions;
use crate::error::{Result, SqlState, sql_err};
use crate::plan::display::write_operator;
use crate::plan::joins::yield_exec::{with_yields, yielding};
use crate::progress::ProgressListener;
use crate::train::SlotsWanted;

/// The most status messages in the queue. Ballista drops messages that do not fit.
const STATUSES: usize = 64;
/// The interval between checks of a job, or of a training that waits.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// The interval between checks whether a job has started.
const SUBMISSION: Duration = Duration::from_millis(20);
/// How long the scheduler may take to record how a job ended after it told so.
const RECORDED_MAX: Duration = Duration::from_secs(2);

impl Cluster {
    /// The same plan with the parts that read files on the executors. Parts that read no files stay in this process, and
    /// so do operators that would not be the same on executors.
    pub(crate) fn distribute(
        self: &Arc<Self>,
        plan: Arc<dyn ExecutionPlan>,
        config: &SessionConfig,
        listener: Option<&ProgressListener>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !reads_files(&plan) {
            return with_yields(plan);
        }
        if !stays(&plan) && travels(&plan, config) {
            return Ok(Arc::new(DistributedExec::new(
                Arc::clone(self),
                plan,
                config.clone(),
                listener.cloned(),
            )));
        }
        if !may_be_cut(&plan) {
            return with_yields(plan);
        }
        let inputs = plan.children().into_iter().map(Arc::clone);
        let inputs = inputs.map(|input| self.distribute(input, config, listener));
        let inputs = inputs.collect::<Result<_>>()?;
        yielding(replace_children_if_necessary(plan, inputs)?)
    }

    /// Runs a job to its end.
    pub(super) async fn run(
        self: &Arc<Self>,
        plan: Arc<dyn ExecutionPlan>,
        config: &SessionConfig,
        name: &str,
        listener: Option<&ProgressListener>,
    ) -> Result<Job> {
        let wait_s = VaticOptions::of(config.options()).executor_wait_s;
        let wanted = SlotsWanted::AtLeast(1);
        self.slots(wanted, wait_s, listener).await?;
        let engine = self.coordinator.reports().engine();
        let config = self.security.with_pass(job_config(config)?, engine);
        let schema = plan.schema();
        let partitions = plan.output_partitioning().partition_count();
        let gone = || sql_err(SqlState::Internal, "the scheduler has ended");
        let token = CancellationToken::new();
        let (sender, receiver) = oneshot::channel();
        let submission = Submission {
            name: name.to_owned(),
            plan,
            config,
            cancelled: token.clone(),
            listener: listener.cloned(),
        };
        let submission = Arc::clone(self).submit(submission, sender);
        // Dropping this statement cancels the job.
        let guard = token.drop_guard();
        self.handle().ok_or_else(gone)?.spawn(submission);
        let (id, done) = receiver.await.map_err(|_| gone())??;
        Job::try_new(Arc::clone(self), id, done, schema, partitions, guard)
    }

    /// Submits a plan and follows its job to the end. Runs on the scheduler's runtime, so that it outlives the statement.
    async fn submit(
        self: Arc<Self>,
        submission: Submission,
        result: oneshot::Sender<Result<(JobId, SuccessfulJob)>>,
    ) {
        let Submission {
            name,
            plan,
            config,
            cancelled,
            listener,
        } = submission;
        let (sender, mut statuses) = mpsc::channel(STATUSES);
        let submitted = async {
            // Executors cache information about files by session, so all jobs share one session.
            let sessions = &self.scheduler.state.session_manager;
            let context = sessions.create_or_update_session("vatic", &config).await?;
            let scheduler = &self.scheduler;
            scheduler
                .submit_physical_plan(&name, context, plan, Some(sender))
                .await
        };
        let id = match submitted.await {
            Ok(id) => id,
            Err(error) => {
                let message = format!("the scheduler refused a plan: {error}");
                // A cancelled statement has no receiver.
                let _ = result.send(Err(sql_err(SqlState::Internal, message)));
                return;
            }
        };
        tracing::info!(job = %id, "submitted");
        let mut is_running = false;
        let mut looks = tokio::time::interval(CHECK_INTERVAL);
        let done = loop {
            let status: Option<JobStatus> = tokio::select! {
                status = statuses.recv() => match status {
                    Some(status) => Some(status),
                    // The last message found no room in the queue.
                    None => last_status(self.job_state.as_ref(), &id, RECORDED_MAX).await,
                },
                () = tokio::time::sleep(SUBMISSION), if !is_running => {
                    // The scheduler reports a job as running only when the job's first task is done.
                    is_running = self.is_running(&id);
                    continue;
                }
                _ = looks.tick(), if is_running => {
                    if let Some(listener) = &listener
                        && let Some(event) = self.progress(&id).await
                    {
                        listener(event);
                    }
                    continue;
                }
                // The scheduler would ignore the cancellation of a job that is not running yet.
                () = cancelled.cancelled(), if is_running => {
                    tracing::info!(job = %id, "cancelling");
                    if let Err(error) = self.scheduler.cancel_job(id.clone()).await {
                        tracing::warn!(job = %id, %error, "cannot cancel a job");
                    }
                    self.counters.jobs_cancelled.fetch_add(1, Ordering::Relaxed);
                    break Err(sql_err(SqlState::Cancelled, "the statement was cancelled"));
                }
            };
            match status.and_then(|status| status.status) {
                Some(job_status::Status::Successful(job)) => {
                    self.counters.jobs_succeeded.fetch_add(1, Ordering::Relaxed);
                    break Ok((id.clone(), job));
                }
                Some(job_status::Status::Failed(job)) => {
                    self.counters.jobs_failed.fetch_add(1, Ordering::Relaxed);
                    break Err(job_err(&job.error));
                }
                Some(job_status::Status::Running(_)) => is_running = true,
                Some(job_status::Status::Queued(_)) => {}
                None => break Err(sql_err(SqlState::Internal, "the scheduler lost a job")),
            }
        };
        let is_done = done.is_ok();
        let is_heard = result.send(done).is_ok();
        if !is_done || !is_heard {
            self.forget(id).await;
        }
    }
}

/// How a job of the scheduler ended. Waits so long until that is recorded; `None` if it is not.
async fn last_status(jobs: &dyn JobState, id: &JobId, wait_max: Duration) -> Option<JobStatus> {
    let began = Instant::now();
    loop {
        // The state is in memory, so the call cannot fail.
        let status = jobs.get_job_status(id).await.ok().flatten();
        let is_over = |status: &JobStatus| {
            matches!(
                status.status,
                Some(job_status::Status::Successful(_) | job_status::Status::Failed(_))
            )
        };
        let status = status.filter(is_over);
        if status.is_some() || began.elapsed() >= wait_max {
            return status;
        }
        tokio::time::sleep(SUBMISSION).await;
    }
}

/// A job for the scheduler.
struct Submission {
    name: String,
    plan: Arc<dyn ExecutionPlan>,
    config: SessionConfig,
    cancelled: CancellationToken,
    listener: Option<ProgressListener>,
}

/// Whether rows come from files, so that there may be many rows.
fn reads_files(plan: &Arc<dyn ExecutionPlan>) -> bool {
    is_source::<FileScanConfig>(plan) || plan.children().into_iter().any(reads_files)
}

/// Whether an operator stays in the engine's process, with its input on the executors: it writes, or it merges
/// partitions, which the reader of the result reads one after the other anyway.
fn stays(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<DataSinkExec>().is_some()
        || plan.downcast_ref::<CoalescePartitionsExec>().is_some()
        || plan.downcast_ref::<SortPreservingMergeExec>().is_some()
}

/// A plan on the executors, with the partitions of the plan's last stage.
pub(super) struct DistributedExec {
    jobs: Jobs,
    properties: Arc<PlanProperties>,
}

impl fmt::Debug for DistributedExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DistributedExec")
            .field("plan", &self.jobs.plan)
            .finish_non_exhaustive()
    }
}

impl DistributedExec {
    fn new(
        cluster: Arc<Cluster>,
        plan: Arc<dyn ExecutionPlan>,
        config: SessionConfig,
        listener: Option<ProgressListener>,
    ) -> Self {
        // Operators above may rely on hash partitioning, as an InterleaveExec does.
        let partitioning = match plan.output_partitioning() {
            hash @ Partitioning::Hash(..) => hash.clone(),
            other => Partitioning::UnknownPartitioning(other.partition_count()),
        };
        let properties = PlanProperties::new(
            plan.equivalence_properties().clone(),
            partitioning,
            plan.pipeline_behavior(),
            plan.boundedness(),
        );
        Self {
            jobs: Jobs::new(cluster, plan, config, listener),
            properties: Arc::new(properties),
        }
    }
}

impl DistributedExec {
    /// The job that computed the rows.
    pub(super) async fn job_id(&self) -> Result<JobId> {
        Ok(self.jobs.job().await?.id.clone())
    }

    /// The job that computed the rows, if it is done.
    pub(super) fn done_job_id(&self) -> Option<JobId> {
        Some(self.jobs.done()?.id.clone())
    }
}

impl DisplayAs for DistributedExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_operator(
            f,
            format,
            "DistributedExec",
            format_args!("scheduler={}", self.jobs.cluster.address()),
        )
    }
}

impl ExecutionPlan for DistributedExec {
    fn name(&self) -> &str {
        "DistributedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// The plan, for display. This process does not execute it.
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.jobs.plan]
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
        let Jobs {
            cluster,
            config,
            listener,
            ..
        } = self.jobs.clone();
        let plan = children.swap_remove(0);
        Ok(Arc::new(Self::new(cluster, plan, config, listener)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let pool = Arc::clone(context.memory_pool());
        let rows = rows_of(self.jobs.clone(), partition, pool);
        let schema = self.jobs.plan.schema();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::scheduler;
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_job_is_known_without_its_message() {
        let jobs = scheduler::job_state();
        let id = JobId::new("job");
        jobs.accept_job(&id, "a query", 0).unwrap();
        let none = last_status(jobs.as_ref(), &id, Duration::ZERO).await;
        assert!(none.is_none(), "the job has not ended: {none:?}");
        // The end is recorded while somebody asks for it.
        let asking = last_status(jobs.as_ref(), &id, Duration::from_secs(60));
        let recording = jobs.fail_unscheduled_job(&id, "no plan".into());
        let (status, recorded) = tokio::join!(asking, recording);
        recorded.unwrap();
        let status = status.and_then(|status| status.status);
        let Some(job_status::Status::Failed(job)) = status else {
            panic!("{status:?}");
        };
        assert_eq!(job.error, "no plan");
    }
}
