//! [`TaskEngine`]: runs tasks on an executor, with their ranks, so that they can be stopped.
//!
//! Ballista stops a task by dropping a future whose work runs elsewhere, which alone stops nothing. So each task has a
//! token, which any end of the task cancels, and an operator on top of its plan, which the token stops.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::execution_plans::{RangeShuffleReaderExec, ShuffleReaderExec};
use ballista_core::serde::protobuf::{
    RuntimeStatsReport, ShuffleWritePartition, TaskColumnStats, WindowStateReport,
};
use ballista_executor::execution_engine::{
    DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor,
};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, replace_children_if_necessary,
};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::errors::{is_lost_input, lost_input_err, task_report, wire_err};
use super::fetch::FetchExec;
use super::secure::{Security, TaskPass};
use crate::error::{Result, SqlState, sql_err};
use crate::memory::Memory;
use crate::plan::display::write_name;
use crate::plan::joins::yield_exec::with_yields;
use crate::plan::one_input::one_input;
use crate::testing::crash;
use crate::train::TrainExec;

/// The tasks of an executor by the engine that gave them, which can be stopped together.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<HashMap<String, CancellationToken>>);

impl Tasks {
    /// Stops the current tasks of all engines except those of `successor`. Tasks that come later are not stopped.
    pub(super) fn stop(&self, successor: Option<&str>) {
        self.lock().retain(|engine, token| {
            let stays = successor == Some(engine.as_str());
            if !stays {
                token.cancel();
            }
            stays
        });
    }

    fn token(&self, engine: &str) -> CancellationToken {
        let mut engines = self.lock();
        engines.entry(engine.to_owned()).or_default().child_token()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct TaskEngine {
    inner: DefaultExecutionEngine,
    tasks: Arc<Tasks>,
    security: Security,
    memory: Arc<Memory>,
}

impl TaskEngine {
    pub(super) fn new(tasks: Arc<Tasks>, security: Security, memory: Arc<Memory>) -> Self {
        Self {
            inner: DefaultExecutionEngine::default(),
            tasks,
            security,
            memory,
        }
    }
}

impl ExecutionEngine for TaskEngine {
    fn create_query_stage_exec(
        &self,
        job_id: JobId,
        stage_id: usize,
        task_id: usize,
        global_output_partition_ids: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        self.security.check_pass(config)?;
        let token = self.tasks.token(TaskPass::engine_of(config));
        let prepared = |exec: Arc<dyn ExecutionPlan>| match exec.downcast_ref::<TrainExec>() {
            Some(train) => {
                let train = train.with_ranks(global_output_partition_ids.clone());
                Ok(Transformed::yes(Arc::new(train) as Arc<dyn ExecutionPlan>))
            }
            None if exec.downcast_ref::<ShuffleReaderExec>().is_some()
                || exec.downcast_ref::<RangeShuffleReaderExec>().is_some() =>
            {
                let fetch = Arc::new(FetchExec::new(exec));
                Ok(Transformed::yes(fetch as Arc<dyn ExecutionPlan>))
            }
            None => Ok(Transformed::no(exec)),
        };
        let plan = with_yields(plan.transform_up(prepared)?.data)?;
        let has_union = plan.exists(|exec| Ok(exec.name() == "UnionExec"))?;
        // The root writes the rows of its input.
        let inputs = plan.children().into_iter().map(|input| {
            Arc::new(StopExec {
                input: Arc::clone(input),
                token: token.clone(),
            }) as Arc<dyn ExecutionPlan>
        });
        let inputs = inputs.collect();
        let plan = replace_children_if_necessary(plan, inputs)?;
        let inner = self.inner.create_query_stage_exec(
            job_id,
            stage_id,
            task_id,
            global_output_partition_ids,
            plan,
            work_dir,
            config,
        )?;
        Ok(Arc::new(Task {
            inner,
            token,
            has_union,
            memory: Arc::clone(&self.memory),
        }))
    }
}

#[derive(Debug)]
struct Task {
    inner: Arc<dyn QueryStageExecutor>,
    token: CancellationToken,
    has_union: bool,
    memory: Arc<Memory>,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl QueryStageExecutor for Task {
    async fn execute_query_stage(
        &self,
        task_id: usize,
        context: Arc<TaskContext>,
    ) -> Result<Vec<ShuffleWritePartition>> {
        let _guard = self.token.clone().drop_guard();
        let context = within(&self.memory, &context);
        let result = self.inner.execute_query_stage(task_id, context).await;
        crash::point("task-done");
        result.map_err(|error| match is_lost_input(&error) {
            // The scheduler computes the lost input again.
            true => lost_input_err(error),
            // An error travels as text.
            false => wire_err(&task_report(&error)),
        })
    }

    /// The scheduler treats a list whose length differs from its own plan's as an error, and then loses the result of the
    /// task. A task of a union has only some of the branches.
    fn collect_plan_metrics(&self) -> Vec<MetricsSet> {
        match self.has_union {
            true => Vec::new(),
            false => self.inner.collect_plan_metrics(),
        }
    }

    fn collect_runtime_stats_reports(&self) -> Vec<RuntimeStatsReport> {
        self.inner.collect_runtime_stats_reports()
    }

    fn collect_window_state_reports(&self) -> Result<Vec<WindowStateReport>> {
        self.inner.collect_window_state_reports()
    }

    fn collect_column_stats(&self) -> Vec<TaskColumnStats> {
        self.inner.collect_column_stats()
    }
}

/// The context of a task whose memory counts in that of the process. Ballista gives each task a pool of its own, with the
/// share of the task's slots as its limit.
fn within(memory: &Memory, context: &TaskContext) -> Arc<TaskContext> {
    let bytes = match context.memory_pool().memory_limit() {
        MemoryLimit::Finite(bytes) => bytes,
        MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
    };
    let runtime = RuntimeEnv {
        memory_pool: memory.task(bytes),
        ..context.runtime_env().as_ref().clone()
    };
    Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        context.session_config().clone(),
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        Arc::new(runtime),
    ))
}

/// An operator that ends its input when the task is cancelled. It has no metrics, so the length of the list stays right.
#[derive(Debug)]
struct StopExec {
    input: Arc<dyn ExecutionPlan>,
    token: CancellationToken,
}

impl StopExec {
    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let token = self.token.clone();
        Ok(Arc::new(Self { input, token }))
    }
}

impl DisplayAs for StopExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, format, "StopExec")
    }
}

impl ExecutionPlan for StopExec {
    fn name(&self) -> &str {
        "StopExec"
    }

    one_input!(in_order);

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = input.schema();
        let cancelled = self.token.clone().cancelled_owned();
        let message = "the statement was cancelled";
        let end = futures::stream::once(async move {
            cancelled.await;
            Err(sql_err(SqlState::Cancelled, message))
        });
        // The input or the cancellation, whichever comes first. After an error the input is dropped with the stream.
        let input = input.map(Some).chain(futures::stream::iter([None]));
        let either = futures::stream::select(input, end.map(Some));
        let stream = either.scan(false, |is_over, item| {
            let item = if *is_over { None } else { item };
            *is_over = matches!(item, None | Some(Err(_)));
            std::future::ready(item)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Schema;
    use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer};
    use datafusion::physical_plan::empty::EmptyExec;

    use super::*;
    use crate::error::report;

    #[test]
    fn a_task_without_the_pass_of_the_cluster_is_refused() {
        let security = Security::of_test(Some("one"), "a");
        let memory = Arc::new(Memory::of_tasks(None));
        let engine = TaskEngine::new(Arc::default(), security.clone(), memory);
        let state = |config: &SessionConfig| {
            let plan = Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
            let created =
                engine.create_query_stage_exec("job".into(), 1, 1, vec![0], plan, "", config);
            created.err().map(|error| report(&error).state)
        };
        let stranger = SessionConfig::new();
        assert_eq!(state(&stranger), Some(SqlState::NotAllowed));
        // A plan that writes no rows for others fails later.
        let ours = security.with_pass(stranger, "engine");
        assert_ne!(state(&ours), Some(SqlState::NotAllowed));
    }

    #[test]
    fn the_tasks_of_a_successor_go_on_when_those_of_its_predecessor_are_stopped() {
        let tasks = Tasks::default();
        let (old, new) = (tasks.token("old"), tasks.token("new"));
        tasks.stop(Some("new"));
        assert!(old.is_cancelled() && !new.is_cancelled());
        assert!(!tasks.token("old").is_cancelled());
        tasks.stop(None);
        assert!(new.is_cancelled());
    }

    #[test]
    fn the_memory_of_tasks_counts_in_that_of_the_process() {
        let memory = Memory::of_tasks(Some(1_000));
        let runtime = RuntimeEnv {
            memory_pool: Arc::new(FairSpillPool::new(600)),
            ..RuntimeEnv::default()
        };
        let context = TaskContext::default().with_runtime(Arc::new(runtime));
        let operator = || {
            let context = within(&memory, &context);
            MemoryConsumer::new("join").register(context.memory_pool())
        };
        let (one, other) = (operator(), operator());
        one.try_grow(600).unwrap();
        assert!(one.try_grow(1).is_err(), "the limit of a task");
        assert_eq!(memory.pool().reserved(), 600);
        other.try_grow(400).unwrap();
        assert!(other.try_grow(1).is_err(), "the limit of the process");
        drop(one);
        other.try_grow(200).unwrap();
        assert_eq!(memory.pool().reserved(), 600);
    }
}
