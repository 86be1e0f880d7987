//! Runs plans: checks access, then executes locally or on the cluster.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::format::ExplainFormat;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::{Analyze, LogicalPlan, Statement as LogicalStatement};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{displayable, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;

use super::Session;
use super::answer::{Answer, rows};
use super::column_tables::with_column_tables;
use super::notices::with_notices;
use crate::access::locked_settings::{check_dialect, check_settings};
use crate::access::secrets::check_copied_secrets;
use crate::catalog::temporary::{Held, is_temporary};
use crate::cluster::Cluster;
use crate::config::VaticOptions;
use crate::error::Result;
use crate::plan::joins::yield_exec::with_yields;
use crate::sql::Effect;

impl Session {
    /// Refuses a plan that the user's rights or the session's limits do not allow.
    pub(crate) fn check_access(&self, plan: &LogicalPlan) -> Result<()> {
        check_dialect(plan)?;
        if self.limits.has_locked_settings {
            check_settings(plan, &self.context.state())?;
        }
        check_copied_secrets(plan)?;
        // At any depth: EXPLAIN ANALYZE runs the statement below it, and PREPARE contains the one that EXECUTE runs.
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::Dml(change) = node {
                // The table that was found when the statement was planned.
                let table = source_as_provider(&change.target)?;
                if !is_temporary(&table) {
                    let name = change.table_name.clone();
                    let at = self
                        .engine
                        .catalog()
                        .resolve(&self.default_schema(), name)?;
                    let entry = self.engine.catalog().entry(&at.0, &at.1)?;
                    self.access.check_table(&at, &entry.ownership)?;
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        self.engine.files().check_plan(plan)
    }

    pub(crate) async fn execute(&self, plan: LogicalPlan) -> Result<SendableRecordBatchStream> {
        Ok(self.answer_plan(plan, Effect::Rows).await?.rows)
    }

    /// Runs the plan of a statement with this effect.
    pub(crate) async fn answer_plan(&self, plan: LogicalPlan, effect: Effect) -> Result<Answer> {
        let is_execute = matches!(plan, LogicalPlan::Statement(LogicalStatement::Execute(_)));
        let frame = self.context.execute_logical_plan(plan).await?;
        let (state, logical) = frame.into_parts();
        let effect = match is_execute {
            true => Effect::of_prepared(&logical),
            false => effect,
        };
        let of_columns =
            (self.names_column_tables && effect == Effect::Rows).then(|| logical.clone());
        let held = Held::of(&logical)?;
        let mut rows = held.by(Box::pin(self.run_plan(state, logical)).await?);
        if let Some(plan) = of_columns {
            // The types come from the rows: the optimizer may have changed the types of the plan.
            let schema = with_column_tables(&rows.schema(), &plan, &self.default_schema())?;
            rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        }
        Ok(Answer { effect, rows })
    }

    async fn run_plan(
        &self,
        mut state: SessionState,
        logical: LogicalPlan,
    ) -> Result<SendableRecordBatchStream> {
        let options = &mut state.config_mut().options_mut().extensions;
        if let Some(options) = options.get_mut::<VaticOptions>() {
            options.is_analyzed = matches!(logical, LogicalPlan::Analyze(_));
        }
        match self.engine.cluster() {
            Some(cluster) => self.run_on_cluster(cluster, state, &logical).await,
            None => {
                let plan = self.create_physical_plan(&state, &logical).await?;
                let plan = with_yields(plan)?;
                let rows = execute_stream(Arc::clone(&plan), self.context_of(&state))?;
                Ok(with_notices(rows, plan, None, self.progress()))
            }
        }
    }

    async fn run_on_cluster(
        &self,
        cluster: &Arc<Cluster>,
        state: SessionState,
        logical: &LogicalPlan,
    ) -> Result<SendableRecordBatchStream> {
        let state = self.for_cluster(state).await;
        if let LogicalPlan::Analyze(analyze) = logical
            && let Some(rows) = self.analyze_on_cluster(cluster, &state, analyze).await?
        {
            return Ok(rows);
        }
        let plan = self.create_physical_plan(&state, logical).await?;
        let plan = cluster.distribute(plan, state.config(), self.progress.as_ref())?;
        let stream = execute_stream(Arc::clone(&plan), self.context_of(&state))?;
        let stream = with_notices(stream, plan, Some(Arc::clone(cluster)), self.progress());
        match logical {
            LogicalPlan::Explain(explain) if explain.explain_format == ExplainFormat::Indent => {
                let plan = self.create_physical_plan(&state, &explain.plan).await?;
                let plan = cluster.distribute(plan, state.config(), None)?;
                let text = displayable(plan.as_ref())
                    .indent(explain.verbose)
                    .to_string();
                Ok(with_distributed_plan(stream, &text))
            }
            _ => Ok(stream),
        }
    }

    /// EXPLAIN ANALYZE of a plan that runs on executors; `None` for a plan that runs in this process.
    async fn analyze_on_cluster(
        &self,
        cluster: &Arc<Cluster>,
        state: &SessionState,
        analyze: &Analyze,
    ) -> Result<Option<SendableRecordBatchStream>> {
        let plan = self.create_physical_plan(state, &analyze.input).await?;
        let plan = cluster.distribute(plan, state.config(), self.progress.as_ref())?;
        let Some(described) = cluster.analyze(plan, self.context_of(state)).await? else {
            return Ok(None);
        };
        let (kinds, plans): (Vec<String>, Vec<String>) = described.into_iter().unzip();
        let kinds: ArrayRef = Arc::new(StringArray::from(kinds));
        let plans: ArrayRef = Arc::new(StringArray::from(plans));
        let schema = Arc::clone(analyze.schema.inner());
        let batch = RecordBatch::try_new(schema, vec![kinds, plans])?;
        Ok(Some(rows(batch)))
    }

    /// Sets the number of partitions to the number of the cluster's slots, unless the session sets another number.
    pub(super) async fn for_cluster(&self, mut state: SessionState) -> SessionState {
        let slots = self.engine.cluster_slots().await;
        let own = SessionConfig::new().target_partitions();
        if slots > 0 && state.config().target_partitions() == own {
            let options = state.config_mut().options_mut();
            options.execution.target_partitions = slots;
        }
        state
    }

    pub(crate) fn task_context(&self) -> Arc<TaskContext> {
        self.context_of(&self.context.state())
    }

    /// The context for the execution of a plan: the session's state, and the statement's memory pool.
    fn context_of(&self, state: &SessionState) -> Arc<TaskContext> {
        let context = TaskContext::from(state);
        let Some(pool) = &self.memory else {
            return Arc::new(context);
        };
        let runtime = RuntimeEnv {
            memory_pool: Arc::clone(pool) as _,
            ..context.runtime_env().as_ref().clone()
        };
        Arc::new(context.with_runtime(Arc::new(runtime)))
    }
}

/// The rows of EXPLAIN, and one more row that shows where each part of the plan runs.
fn with_distributed_plan(
    stream: SendableRecordBatchStream,
    text: &str,
) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let kind: ArrayRef = Arc::new(StringArray::from(vec!["distributed_plan"]));
    let plan: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let row = RecordBatch::try_new(Arc::clone(&schema), vec![kind, plan]);
    let row = row.map_err(DataFusionError::from);
    let rows = stream.chain(futures::stream::iter([row]));
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}
