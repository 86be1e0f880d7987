//! What the scheduler makes of a plan, and what executors read of it, looked at before any of it is given away.
//!
//! The scheduler cuts a plan into stages, sends each as bytes and gives each task its partitions of the leaves. A plan that
//! does not come out of that as it went in stays in the engine's process; its inputs are tried one by one.

use std::fmt;
use std::sync::{Arc, LazyLock};

use ballista_core::JobId;
use ballista_core::config::{
    BALLISTA_ADAPTIVE_PLANNER_ENABLED, BALLISTA_BROADCAST_JOIN_THRESHOLD_BYTES,
};
use ballista_core::execution_plans::{ShuffleWriter, UnresolvedShuffleExec};
use ballista_scheduler::planner::{DefaultDistributedPlanner, DistributedPlanner};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionConfig;
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;

use super::codec::PlanCodec;
use super::rules::shares_its_first_side;
use crate::error::{Result, SqlState, report, sql_err};
use crate::state::functions_state;

/// Parts of these belong together: they share what they know while they run, or are run many times.
const ONE_PROCESS: [&str; 6] = [
    "AnalyzeExec",
    "ExplainExec",
    "RecursiveQueryExec",
    "ScalarSubqueryExec",
    "SymmetricHashJoinExec",
    "WorkTableExec",
];

/// The settings of a job: those of the session, without what would let the scheduler plan joins and partitions anew.
pub(super) fn job_config(config: &SessionConfig) -> Result<SessionConfig> {
    let mut config = config.clone();
    let options = config.options_mut();
    // When a partition is computed again it must have the same rows, and none of its neighbour's.
    options.execution.enable_file_stream_work_stealing = false;
    options.optimizer.enable_round_robin_repartition = false;
    options.set(BALLISTA_BROADCAST_JOIN_THRESHOLD_BYTES, "0")?;
    options.set(BALLISTA_ADAPTIVE_PLANNER_ENABLED, "false")?;
    Ok(config)
}

/// Whether a plan gives on executors what it gives here.
pub(super) fn travels(plan: &Arc<dyn ExecutionPlan>, config: &SessionConfig) -> bool {
    match check(plan, config) {
        Ok(()) => true,
        Err(error) => {
            let why = report(&error).message;
            tracing::debug!(
                operator = plan.name(),
                why,
                "a plan that stays in this process"
            );
            false
        }
    }
}

/// Whether the inputs of an operator may run elsewhere than itself.
pub(super) fn may_be_cut(exec: &Arc<dyn ExecutionPlan>) -> bool {
    !matches!(
        exec.name(),
        "AnalyzeExec" | "ExplainExec" | "RecursiveQueryExec"
    )
}

fn check(plan: &Arc<dyn ExecutionPlan>, config: &SessionConfig) -> Result<()> {
    each(plan, &mut is_of_one_process)?;
    let config = job_config(config)?;
    let mut planner = DefaultDistributedPlanner::new();
    let job = JobId::new("check");
    let stages = planner.plan_query_stages(&job, Arc::clone(plan), config.options());
    let stages =
        stages.map_err(|error| obstacle(format!("it cannot be cut into stages: {error}")))?;
    let planned = plan.output_partitioning().partition_count();
    let found = stages.last().map(|stage| stage.input_partition_count());
    if found != Some(planned) {
        let message = format!("{planned} partitions would become {found:?}");
        return Err(obstacle(message));
    }
    stages.into_iter().try_for_each(check_stage)
}

fn check_stage(stage: Arc<dyn ShuffleWriter>) -> Result<()> {
    let stage: Arc<dyn ExecutionPlan> = stage;
    each(&stage, &mut is_of_one_task)?;
    let codec = PlanCodec::default();
    let sent = PhysicalPlanNode::try_from_physical_plan(Arc::clone(&stage), &codec)?;
    let read = sent.try_into_physical_plan(context()?, &codec)?;
    compare(&stage, &read)
}

/// What executors know, when they read a plan.
fn context() -> Result<&'static TaskContext> {
    static CONTEXT: LazyLock<Result<TaskContext, String>> = LazyLock::new(|| {
        let state = functions_state().map_err(|error| error.to_string())?;
        Ok(TaskContext::from(&state))
    });
    CONTEXT
        .as_ref()
        .map_err(|error| sql_err(SqlState::Internal, error.clone()))
}

fn each(
    plan: &Arc<dyn ExecutionPlan>,
    look: &mut dyn FnMut(&Arc<dyn ExecutionPlan>) -> Option<&'static str>,
) -> Result<()> {
    if let Some(why) = look(plan) {
        return Err(obstacle(format!("{} {why}", plan.name())));
    }
    plan.children()
        .into_iter()
        .try_for_each(|input| each(input, look))
}

fn is_of_one_process(exec: &Arc<dyn ExecutionPlan>) -> Option<&'static str> {
    if ONE_PROCESS.contains(&exec.name()) {
        return Some("has parts that belong together");
    }
    let join = exec.downcast_ref::<HashJoinExec>();
    let is_collected = |join: &HashJoinExec| *join.partition_mode() != PartitionMode::Partitioned;
    if join.is_some_and(is_collected) || shares_its_first_side(exec) {
        return Some("has one side for all of its tasks");
    }
    let repartition = exec.downcast_ref::<RepartitionExec>();
    if repartition.is_some_and(RepartitionExec::preserve_order) {
        return Some("keeps an order that executors do not keep");
    }
    None
}

fn is_of_one_task(exec: &Arc<dyn ExecutionPlan>) -> Option<&'static str> {
    let is_empty = |exec: &Arc<dyn ExecutionPlan>| exec.downcast_ref::<EmptyExec>().is_some();
    if let Some(repartition) = exec.downcast_ref::<RepartitionExec>()
        && !is_empty(repartition.input())
    {
        return Some("would have the rows of one task");
    }
    // Of a leaf that it does not know the scheduler would give all partitions to every task.
    let is_known = !exec.children().is_empty()
        || exec.output_partitioning().partition_count() == 1
        || is_empty(exec)
        || exec.downcast_ref::<UnresolvedShuffleExec>().is_some()
        || is_source::<FileScanConfig>(exec)
        || is_source::<MemorySourceConfig>(exec);
    (!is_known).then_some("would be read by every task")
}

pub(super) fn is_source<T: std::any::Any>(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<DataSourceExec>()
        .is_some_and(|exec| (exec.data_source().as_ref() as &dyn std::any::Any).is::<T>())
}

/// Whether what is read says and gives the same as what was sent.
fn compare(sent: &Arc<dyn ExecutionPlan>, read: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let same_partitions = sent.output_partitioning().partition_count()
        == read.output_partitioning().partition_count();
    let (line, other) = (Line(sent).to_string(), Line(read).to_string());
    if !same_partitions || line != other || sent.schema() != read.schema() {
        let message = format!(
            "{line} of {} would be read as {other} of {}",
            sent.schema(),
            read.schema()
        );
        return Err(obstacle(message));
    }
    let (sent, read) = (sent.children(), read.children());
    if sent.len() != read.len() {
        return Err(obstacle(format!("{line} would lose an input")));
    }
    sent.into_iter()
        .zip(read)
        .try_for_each(|(sent, read)| compare(sent, read))
}

fn obstacle(why: String) -> datafusion::common::DataFusionError {
    sql_err(SqlState::Unsupported, why)
}

struct Line<'a>(&'a Arc<dyn ExecutionPlan>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_as(DisplayFormatType::Default, f)
    }
}
