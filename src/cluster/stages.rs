//! Checks whether a plan stays the same as stages on executors, before any part of it is sent.
//!
//! The scheduler cuts a plan into stages, sends each stage as bytes and gives each task its partitions of the leaves. A
//! plan that this changes stays in the engine's process; its inputs are checked one by one.

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
use datafusion::physical_expr::window::{
    PlainAggregateWindowExpr, SlidingAggregateWindowExpr, StandardWindowExpr, WindowExpr,
};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode,
};
use datafusion::physical_plan::memory::LazyMemoryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionConfig;
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;

use super::codec::PlanCodec;
use super::rules::shares_its_first_side;
use crate::error::{Result, SqlState, report, sql_err};
use crate::extensions::EXTENSIONS;
use crate::plan::chance::is_drawn_in_each_task;
use crate::plan::functions::functions_state;
use crate::plan::sample::draws_by_place;
use crate::plan::scans::file_scan;

/// Operators whose parts must run in one process: the parts share state while they run, or run many times.
const ONE_PROCESS: [&str; 6] = [
    "AnalyzeExec",
    "ExplainExec",
    "RecursiveQueryExec",
    "ScalarSubqueryExec",
    "SymmetricHashJoinExec",
    "WorkTableExec",
];

/// The settings of a job: the session's settings, without those that let the scheduler replan joins and partitions.
pub(super) fn job_config(config: &SessionConfig) -> Result<SessionConfig> {
    let mut config = config.clone();
    let options = config.options_mut();
    // A partition that is computed again must have the same rows, and no rows of other partitions.
    options.execution.enable_file_stream_work_stealing = false;
    options.optimizer.enable_round_robin_repartition = false;
    options.set(BALLISTA_BROADCAST_JOIN_THRESHOLD_BYTES, "0")?;
    options.set(BALLISTA_ADAPTIVE_PLANNER_ENABLED, "false")?;
    Ok(config)
}

/// Whether a plan returns the same rows on executors as in this process.
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

/// Whether the inputs of an operator may run in another process than the operator.
pub(super) fn may_be_cut(exec: &Arc<dyn ExecutionPlan>) -> bool {
    !matches!(
        exec.name(),
        "AnalyzeExec" | "ExplainExec" | "RecursiveQueryExec"
    )
}

fn check(plan: &Arc<dyn ExecutionPlan>, config: &SessionConfig) -> Result<()> {
    each(plan, &mut is_of_one_process)?;
    if is_drawn_in_each_task(plan) {
        return Err(obstacle("each task would draw its own values".into()));
    }
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
    let codec = PlanCodec::new(EXTENSIONS);
    let sent = PhysicalPlanNode::try_from_physical_plan(Arc::clone(&stage), &codec)?;
    let read = sent.try_into_physical_plan(context()?, &codec)?;
    each(&read, &mut is_of_one_task)?;
    compare(&stage, &read)
}

/// The context in which executors decode a plan.
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
        return Some("has parts that must run in one process");
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
    let scan = file_scan(exec.as_ref());
    let is_numbered =
        |scan: &FileScanConfig| !scan.file_source.table_schema().virtual_columns().is_empty();
    if scan.is_some_and(is_numbered) {
        return Some("numbers rows, which its bytes do not record");
    }
    // A task counts its partitions from 0, so all tasks would draw the same places.
    if draws_by_place(exec.as_ref()) && exec.output_partitioning().partition_count() > 1 {
        return Some("would draw by places that tasks do not know");
    }
    None
}

fn is_of_one_task(exec: &Arc<dyn ExecutionPlan>) -> Option<&'static str> {
    let is_empty = |exec: &Arc<dyn ExecutionPlan>| exec.downcast_ref::<EmptyExec>().is_some();
    if let Some(repartition) = exec.downcast_ref::<RepartitionExec>()
        && !is_empty(repartition.input())
    {
        return Some("would repartition only the rows of one task");
    }
    // Cutting a plan may remove the single partition that such a join needs.
    if shares_its_first_side(exec) {
        return Some("has one side for all of its tasks");
    }
    // A task of a union has no partitions of most branches.
    if exec.downcast_ref::<UnionExec>().is_some() {
        // The scheduler swaps the sides of a join, and then takes the partitions of the side that all tasks read.
        if has(exec, is_join_without_keys) {
            return Some("has joins that all of its tasks would run");
        }
        // Sorts accept that, but debug builds assert that they have partitions.
        if cfg!(debug_assertions) && has(exec, is_sort) {
            return Some("has sorts that may have no partitions");
        }
    }
    if !has_its_order(exec) {
        return Some("relies on an order that is lost between stages");
    }
    // The scheduler would give all partitions of an unknown leaf to every task.
    let is_known = !exec.children().is_empty()
        || exec.output_partitioning().partition_count() == 1
        || is_empty(exec)
        || exec.downcast_ref::<UnresolvedShuffleExec>().is_some()
        || is_source::<FileScanConfig>(exec)
        || is_source::<MemorySourceConfig>(exec);
    if !is_known {
        return Some("would be read by every task");
    }
    leaves_columns_out(exec).then_some("leaves columns out, which its bytes do not record")
}

fn has(plan: &Arc<dyn ExecutionPlan>, is: fn(&dyn ExecutionPlan) -> bool) -> bool {
    let inputs = plan.children();
    is(plan.as_ref()) || inputs.into_iter().any(|input| has(input, is))
}

fn is_sort(exec: &dyn ExecutionPlan) -> bool {
    exec.downcast_ref::<SortExec>().is_some()
}

fn is_join_without_keys(exec: &dyn ExecutionPlan) -> bool {
    let has_condition = exec.downcast_ref::<NestedLoopJoinExec>().is_some();
    has_condition || exec.downcast_ref::<CrossJoinExec>().is_some()
}

/// Whether the inputs of an operator are known to have the order that it requires. A merge always has it: rows of another
/// stage come in the order in which that stage wrote them.
fn has_its_order(exec: &Arc<dyn ExecutionPlan>) -> bool {
    if exec.downcast_ref::<SortPreservingMergeExec>().is_some() {
        return true;
    }
    let inputs = exec.children().into_iter();
    let mut required = inputs.zip(exec.required_input_ordering());
    required.all(|(input, required)| {
        required.is_none_or(|required| {
            let known = input.equivalence_properties();
            let is_known = known.ordering_satisfy_requirement(required.into_single());
            is_known.unwrap_or(false)
        })
    })
}

/// Whether a table function generates columns that its operator does not return.
fn leaves_columns_out(exec: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(made) = exec.downcast_ref::<LazyMemoryExec>() else {
        return false;
    };
    let given = made.schema();
    made.generators().iter().any(|rows| {
        let rows = rows.read().reset_state();
        let first = rows.write().generate_next_batch();
        matches!(first, Ok(Some(batch)) if batch.schema().fields() != given.fields())
    })
}

pub(super) fn is_source<T: std::any::Any>(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<DataSourceExec>()
        .is_some_and(|exec| (exec.data_source().as_ref() as &dyn std::any::Any).is::<T>())
}

/// Checks that the decoded plan has the same descriptions, schemas and partitions as the sent plan.
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
    if windows(sent) != windows(read) {
        return Err(obstacle(format!("{line} would lose a part of a function")));
    }
    let (sent, read) = (sent.children(), read.children());
    if sent.len() != read.len() {
        return Err(obstacle(format!("{line} would lose an input")));
    }
    sent.into_iter()
        .zip(read)
        .try_for_each(|(sent, read)| compare(sent, read))
}

/// The properties of window functions that the descriptions of operators do not show: FILTER, IGNORE NULLS, DISTINCT, and
/// whether the functions run backwards.
fn windows(exec: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    let bounded = exec.downcast_ref::<BoundedWindowAggExec>();
    let other = exec.downcast_ref::<WindowAggExec>();
    let windows = bounded.map(BoundedWindowAggExec::window_expr);
    let windows = windows.or_else(|| other.map(WindowAggExec::window_expr));
    let windows = windows.unwrap_or_default().iter();
    windows.map(hidden_properties).collect()
}

fn hidden_properties(window: &Arc<dyn WindowExpr>) -> String {
    let any = window.as_any();
    if let Some(function) = any.downcast_ref::<StandardWindowExpr>() {
        return format!("{:?}", function.get_standard_func_expr());
    }
    let plain = any.downcast_ref::<PlainAggregateWindowExpr>();
    let sliding = any.downcast_ref::<SlidingAggregateWindowExpr>();
    let aggregate = plain.map(PlainAggregateWindowExpr::get_aggregate_expr);
    let aggregate =
        aggregate.or_else(|| sliding.map(SlidingAggregateWindowExpr::get_aggregate_expr));
    let options = aggregate.map(|function| (function.ignore_nulls(), function.is_distinct()));
    // Only the debug text shows the filter, as its last part.
    let text = format!("{window:?}");
    let filter = text.rsplit_once(", filter: ").map(|(_, filter)| filter);
    format!("{options:?} {filter:?}")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Engine;

    #[tokio::test(flavor = "multi_thread")]
    async fn plans_that_would_be_others_on_executors_are_told_from_those_that_travel() {
        let engine = Engine::builder().cluster("127.0.0.1:0").build().unwrap();
        let session = engine.session().unwrap();
        let table = "CREATE TABLE t AS SELECT value AS a, nullif(value % 3, 0) AS b FROM generate_series(1, 9)";
        session.sql(table).await.unwrap();
        session
            .sql("SET datafusion.optimizer.prefer_hash_join = true")
            .await
            .unwrap();
        for (query, expected) in [
            ("SELECT a + 1 FROM t WHERE b > 2", true),
            ("SELECT b, count(*) FROM t GROUP BY b", true),
            (
                "SELECT x.a FROM t x LEFT JOIN t y ON x.a = y.b AND x.b < y.a",
                true,
            ),
            ("SELECT a FROM t UNION ALL SELECT a + 1 FROM t", true),
            ("SELECT a FROM t ORDER BY b, a", true),
            (
                "SELECT label, decode_image(bytes) FROM read_images('sql-tests/data/images/') WHERE label = 'odd'",
                true,
            ),
            // The literal is decoded as a column.
            ("SELECT a FROM t UNION ALL SELECT 1", false),
            (
                "SELECT a, s.value FROM t CROSS JOIN generate_series(1, 4) s",
                true,
            ),
            (
                "SELECT a, sum(a) OVER (PARTITION BY b ORDER BY a), lag(a) OVER (ORDER BY a) FROM t",
                true,
            ),
            // These lose IGNORE NULLS and FILTER.
            (
                "SELECT first_value(b) IGNORE NULLS OVER (ORDER BY a) FROM t",
                false,
            ),
            (
                "SELECT sum(a) FILTER (WHERE b = 1) OVER (ORDER BY a) FROM t",
                false,
            ),
            // The series is decoded without its column.
            ("SELECT a FROM t CROSS JOIN generate_series(1, 4)", false),
            ("SELECT a FROM t WHERE a NOT IN (SELECT b FROM t)", false),
            (
                "SELECT a FROM (SELECT a FROM t UNION ALL SELECT b FROM t) s TABLESAMPLE BERNOULLI (50)",
                false,
            ),
            (
                "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT a FROM t, r WHERE a = i + 1) SELECT * FROM r",
                false,
            ),
        ] {
            let plan = session.plan_query(query).await.unwrap();
            let plan = session.physical_plan(&plan).await.unwrap();
            let config = session.context().copied_config();
            assert_eq!(travels(&plan, &config), expected, "{query}\n{plan:?}");
        }
        let setting =
            "SET datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery = true";
        session.sql(setting).await.unwrap();
        let query = "SELECT a FROM t WHERE a > (SELECT avg(b) FROM t)";
        let plan = session.plan_query(query).await.unwrap();
        let plan = session.physical_plan(&plan).await.unwrap();
        assert!(!travels(&plan, &session.context().copied_config()));
    }
}
