//! EXPLAIN ANALYZE on a cluster: the plan of this process, and each stage with the metrics of its tasks. Metrics of a query for the
//! engine.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::serde::protobuf::task_status;
use ballista_scheduler::state::execution_stage::{ExecutionStage, TaskInfo};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, execute_stream};
use futures::TryStreamExt;

use super::backend::DistributedExec;
use super::services::Cluster;
use crate::error::{Result, SqlState, sql_err};

impl Cluster {
    /// Runs a plan and returns pairs of a title and a plan with metrics; `None` if no part of the plan is distributed.
    pub(crate) async fn analyze(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
    ) -> Result<Option<Vec<(String, String)>>> {
        let mut jobs = Vec::new();
        distributed(&plan, &mut jobs);
        if jobs.is_empty() {
            return Ok(None);
        }
        let mut rows = execute_stream(Arc::clone(&plan), context)?;
        while rows.try_next().await?.is_some() {}
        drop(rows);
        let here = DisplayableExecutionPlan::with_metrics(plan.as_ref());
        let mut described = vec![(
            "Plan with Metrics".to_owned(),
            here.indent(false).to_string(),
        )];
        for exec in jobs
            .iter()
            .filter_map(|exec| exec.downcast_ref::<DistributedExec>())
        {
            let id = exec.job_id().await?;
            described.extend(self.stages(&id).await?);
        }
        Ok(Some(described))
    }

    /// The operators of the jobs of a plan that are done, each with the metrics of all its tasks.
    pub(crate) async fn measured(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
    ) -> Vec<(Arc<dyn ExecutionPlan>, MetricsSet)> {
        let mut jobs = Vec::new();
        distributed(plan, &mut jobs);
        let jobs = jobs
            .iter()
            .filter_map(|exec| exec.downcast_ref::<DistributedExec>());
        let ids: Vec<JobId> = jobs.filter_map(DistributedExec::done_job_id).collect();
        let mut found = Vec::new();
        for id in ids {
            // A job that the scheduler has forgotten has no metrics any more.
            let Ok(Some(graph)) = self.job_state.get_execution_graph(&id).await else {
                continue;
            };
            for stage in graph.stages().values() {
                if let ExecutionStage::Successful(stage) = stage {
                    pair(&stage.plan, &mut stage.stage_metrics.iter(), &mut found);
                }
            }
        }
        found
    }

    async fn stages(&self, id: &JobId) -> Result<Vec<(String, String)>> {
        let unknown = |problem: String| {
            let message = format!("the metrics of job {id} are unknown: {problem}");
            sql_err(SqlState::Internal, message)
        };
        let graph = self.job_state.get_execution_graph(id).await;
        let graph = graph.map_err(|error| unknown(error.to_string()))?;
        let graph = graph.ok_or_else(|| unknown("the job is gone".into()))?;
        let mut stages: Vec<_> = graph.stages().iter().collect();
        stages.sort_by_key(|(number, _)| **number);
        let described = stages
            .into_iter()
            .filter_map(|(number, stage)| match stage {
                ExecutionStage::Successful(stage) => {
                    let tasks = stage.task_infos.len();
                    let executors = executors(&stage.task_infos);
                    let what = format!("Stage {number}: {tasks} tasks on {executors} executors");
                    let text = with_metrics(&stage.plan, &stage.stage_metrics);
                    Some((what, text))
                }
                _ => None,
            });
        Ok(described.collect())
    }
}

fn distributed(plan: &Arc<dyn ExecutionPlan>, found: &mut Vec<Arc<dyn ExecutionPlan>>) {
    if plan.downcast_ref::<DistributedExec>().is_some() {
        return found.push(Arc::clone(plan));
    }
    for input in plan.children() {
        distributed(input, found);
    }
}

/// The number of executors on which tasks succeeded.
fn executors(tasks: &[TaskInfo]) -> usize {
    let ids = tasks.iter().filter_map(|task| match &task.task_status {
        task_status::Status::Successful(task) => Some(task.executor_id.as_str()),
        _ => None,
    });
    ids.collect::<HashSet<_>>().len()
}

/// The plan of a stage, each operator with the metrics of all its tasks. `metrics` has an entry for each operator that
/// has metrics, from top to bottom.
fn with_metrics(plan: &Arc<dyn ExecutionPlan>, metrics: &[MetricsSet]) -> String {
    let mut text = String::new();
    describe(plan, 0, &mut metrics.iter(), &mut text);
    text
}

/// Pairs each operator that has metrics with its metrics, from top to bottom.
fn pair(
    plan: &Arc<dyn ExecutionPlan>,
    metrics: &mut std::slice::Iter<'_, MetricsSet>,
    found: &mut Vec<(Arc<dyn ExecutionPlan>, MetricsSet)>,
) {
    let own = plan.metrics().and_then(|_| metrics.next());
    found.extend(own.map(|own| (Arc::clone(plan), own.clone())));
    for input in plan.children() {
        pair(input, metrics, found);
    }
}

fn describe(
    plan: &Arc<dyn ExecutionPlan>,
    depth: usize,
    metrics: &mut std::slice::Iter<'_, MetricsSet>,
    text: &mut String,
) {
    let metrics_here = plan.metrics().and_then(|_| metrics.next());
    let metrics_here = metrics_here.map_or(String::new(), |metrics| {
        let metrics = metrics.aggregate_by_name().sorted_for_display();
        metrics.timestamps_removed().to_string()
    });
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{:indent$}{}, metrics=[{metrics_here}]",
        "",
        Line(plan),
        indent = 2 * depth
    );
    for input in plan.children() {
        describe(input, depth + 1, metrics, text);
    }
}

struct Line<'a>(&'a Arc<dyn ExecutionPlan>);

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt_as(DisplayFormatType::Default, f)
    }
}
