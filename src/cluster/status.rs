//! The status of a cluster for users: its executors, its jobs, and the progress of a job.

use ballista_core::JobId;
use ballista_core::serde::protobuf::task_status;
use ballista_scheduler::state::execution_stage::{ExecutionStage, TaskInfo};
use chrono::{DateTime, Utc};

use super::services::Cluster;
use crate::progress::ProgressEvent;

/// An executor that has joined.
#[derive(Debug, Clone)]
pub(crate) struct ExecutorView {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) slots: u64,
    pub(crate) free_slots: u64,
    pub(crate) last_seen: Option<DateTime<Utc>>,
    /// The models that the executor has loaded, if it has reported them.
    pub(crate) models: Option<Vec<String>>,
    /// The GPUs of the executor, or `cpu`, if it has reported them.
    pub(crate) device: Option<String>,
}

/// A running job.
#[derive(Debug, Clone)]
pub(crate) struct JobView {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) started_at: Option<DateTime<Utc>>,
    pub(crate) stages: u64,
    pub(crate) stages_done: u64,
    pub(crate) tasks_running: u64,
}

impl Cluster {
    /// Every executor, by id.
    pub(crate) async fn executors(&self) -> Vec<ExecutorView> {
        let manager = &self.scheduler.state.executor_manager;
        // The state is in memory, so the call cannot fail.
        let known = manager.get_executors_state().await.unwrap_or_default();
        let jobs = self.scheduler.state.task_manager.get_running_job_cache();
        let slots = self.placement.free(&jobs).await;
        let mut executors: Vec<ExecutorView> = known
            .into_iter()
            .map(|(executor, last_seen, _)| {
                let (slots, free_slots) = slots.get(&executor.id).copied().unwrap_or_default();
                let report = self.coordinator.reports().of(&executor.id);
                ExecutorView {
                    address: format!("{}:{}", executor.host, executor.port),
                    device: report.as_ref().map(|report| report.devices.join(", ")),
                    models: report.map(|report| report.models),
                    id: executor.id,
                    slots: slots.into(),
                    free_slots: free_slots.into(),
                    last_seen: last_seen
                        .and_then(|at| DateTime::from_timestamp(at.as_secs() as i64, 0)),
                }
            })
            .collect();
        executors.sort_by(|left, right| left.id.cmp(&right.id));
        executors
    }

    /// Every running job, the oldest first.
    pub(crate) async fn jobs(&self) -> Vec<JobView> {
        let mut jobs = Vec::new();
        let running = self.scheduler.state.task_manager.get_running_job_cache();
        for (id, info) in running.iter() {
            let graph = info.execution_graph.read().await;
            jobs.push(JobView {
                id: id.to_string(),
                name: graph.job_name().to_owned(),
                started_at: DateTime::from_timestamp_millis(graph.start_time() as i64),
                stages: graph.stages().len() as u64,
                stages_done: graph.completed_stages() as u64,
                tasks_running: graph.running_tasks().len() as u64,
            });
        }
        jobs.sort_by(|left, right| (left.started_at, &left.id).cmp(&(right.started_at, &right.id)));
        jobs
    }

    /// Whether a job has started and is not over.
    pub(super) fn is_running(&self, id: &JobId) -> bool {
        let jobs = self.scheduler.state.task_manager.get_running_job_cache();
        jobs.contains_key(id)
    }

    /// The progress of a job, if the job runs.
    pub(super) async fn progress(&self, id: &JobId) -> Option<ProgressEvent> {
        let jobs = self.scheduler.state.task_manager.get_running_job_cache();
        let graph = jobs.get(id)?.execution_graph.read().await;
        let (mut tasks, mut tasks_done) = (0, 0);
        for stage in graph.stages().values() {
            if let ExecutionStage::Running(stage) = stage {
                tasks += stage.partitions;
                tasks_done += stage.task_infos.iter().map(partitions_done).sum::<usize>();
            }
        }
        Some(ProgressEvent::Stages {
            stages: graph.stages().len(),
            stages_done: graph.completed_stages(),
            tasks,
            tasks_done,
        })
    }
}

fn partitions_done(task: &TaskInfo) -> usize {
    match task.task_status {
        task_status::Status::Successful(_) => task.global_input_partition_ids.len(),
        _ => 0,
    }
}
