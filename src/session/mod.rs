//! [`Session`]: what one client has: settings, limits, prepared statements, temporary tables. It plans and runs plans; which
//! statement does what, `statements` says.
//!
//! * `answer` what a statement gives
//! * `describe` what a statement would do, before it runs
//! * `install` what is installed into DataFusion
//! * `planner` how statements are planned, also in place of others
//! * `planner_thread` planning on a thread of its own
//! * `task` statements among the workers
//! * `column_tables` which tables the columns of a result are of

pub(crate) mod answer;
pub(crate) mod column_tables;
pub(crate) mod describe;
pub(crate) mod install;
mod planner;
mod planner_thread;
pub(crate) mod task;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{CatalogProvider, MemTable, MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::common::config::ConfigExtension;
use datafusion::common::format::ExplainFormat;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::datasource::source_as_provider;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::{
    DdlStatement, Deallocate, LogicalPlan, Statement as LogicalStatement,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as DFStatement;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};

use self::answer::{Answer, rows};
use self::column_tables::with_origins;
use self::install::session_state;
use self::planner_thread::planned;
use crate::access::Access;
use crate::access::locked_settings::{check_dialect, check_settings};
use crate::access::secrets::check_copied_secrets;
use crate::catalog::temporary::{Held, TemporaryTables, is_temporary, take_temporary};
use crate::engine::Engine;
use crate::error::{Result, SqlState, report, sql_err};
use crate::memory::StatementPool;
use crate::plan::joins::yield_exec::with_yields;
use crate::progress::ProgressListener;
use crate::sql::{
    Effect, Limits, Statement, TrainingQuery, check_plan, check_selected_names, check_statement,
    parse,
};
use crate::storage::DEFAULT_SCHEMA;

/// One client's view of an engine: its settings and prepared statements.
#[derive(Clone)]
pub struct Session {
    engine: Engine,
    context: SessionContext,
    prepared: Arc<Mutex<HashMap<String, DFStatement>>>,
    progress: Option<ProgressListener>,
    limits: Arc<Limits>,
    memory: Option<Arc<StatementPool>>,
    tells_origins: bool,
    access: Access,
    temporary: Arc<TemporaryTables>,
}

/// The catalog of rows that were bound to a statement.
const BOUND_ROWS: &str = "bound";

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.context.session_id())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// A session: its settings are its own, tables and models are shared.
    ///
    /// # Errors
    /// If the session cannot be set up.
    pub fn session(&self) -> Result<Session> {
        Session::try_new(self.clone(), Access::All)
    }

    /// A session of a user, who may do what was granted.
    pub(crate) fn session_as(&self, access: Access) -> Result<Session> {
        Session::try_new(self.clone(), access)
    }
}

impl Session {
    pub(crate) fn try_new(engine: Engine, access: Access) -> Result<Self> {
        let temporary = Arc::default();
        let state = session_state(&engine, &access, &temporary)?;
        let context = SessionContext::new_with_state(state);
        Ok(Self {
            engine,
            context,
            prepared: Arc::default(),
            progress: None,
            limits: Arc::default(),
            memory: None,
            tells_origins: false,
            access,
            temporary,
        })
    }

    /// Holds statements to these limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = Arc::new(limits);
        self
    }

    /// Lets statements take memory from this pool.
    #[must_use]
    pub(crate) fn with_memory(mut self, pool: Arc<StatementPool>) -> Self {
        self.memory = Some(pool);
        self
    }

    /// Lets the schemas of results tell which tables their columns are of; those of their batches do not.
    #[must_use]
    pub(crate) fn with_origins(mut self) -> Self {
        self.tells_origins = true;
        self
    }

    /// Tells `listener` of the progress of trainings.
    #[must_use]
    pub fn with_progress(mut self, listener: ProgressListener) -> Self {
        self.progress = Some(listener);
        self
    }

    /// Plans a statement of DataFusion's, away from tokio's threads.
    pub(crate) async fn plan(&self, mut statement: DFStatement) -> Result<LogicalPlan> {
        let is_temporary = take_temporary(&mut statement);
        let mut plan = self.plan_in(self.context.state(), statement).await?;
        if let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) = &mut plan {
            table.temporary = is_temporary;
        }
        Ok(plan)
    }

    /// Plans a view as it will be planned whenever it is opened: with the names of the default schema, whatever that of
    /// the session is. Otherwise it would later read what its maker may not.
    pub(crate) async fn plan_view(&self, statement: DFStatement) -> Result<LogicalPlan> {
        self.plan_in(self.view_state()?, statement).await
    }

    /// The state in which names without a schema are those of the default schema.
    pub(crate) fn view_state(&self) -> Result<SessionState> {
        let mut state = self.context.state();
        let fresh = self.engine.session()?.context.state();
        let options = state.config_mut().options_mut();
        DEFAULT_SCHEMA.clone_into(&mut options.catalog.default_schema);
        // What a name is, too.
        options.sql_parser = fresh.config_options().sql_parser.clone();
        Ok(state)
    }

    async fn plan_in(&self, state: SessionState, statement: DFStatement) -> Result<LogicalPlan> {
        check_statement(&statement, &self.limits)?;
        let (engine, access) = (self.engine.clone(), self.access.clone());
        let planning = async move { engine.plan(&state, &access, statement).await };
        self.planning(planning.boxed()).await
    }

    /// Plans in some way, within the limits of the session.
    pub(crate) async fn planning(
        &self,
        work: BoxFuture<'static, Result<LogicalPlan>>,
    ) -> Result<LogicalPlan> {
        let limits = Arc::clone(&self.limits);
        planned(self.limits.planning, async move {
            let plan = work.await?;
            check_plan(&plan, &limits)?;
            Ok(plan)
        })
        .await
    }

    async fn create_physical_plan(
        &self,
        state: &SessionState,
        plan: &LogicalPlan,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (state, plan) = (state.clone(), plan.clone());
        planned(self.limits.planning, async move {
            state.create_physical_plan(&plan).await
        })
        .await
    }

    /// Refuses what the session may not do.
    pub(crate) fn check_access(&self, plan: &LogicalPlan) -> Result<()> {
        check_dialect(plan)?;
        if self.limits.has_locked_settings {
            check_settings(plan, &self.context.state())?;
        }
        check_copied_secrets(plan)?;
        // Wherever it stands: EXPLAIN ANALYZE runs it, and EXECUTE what was prepared.
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::Dml(change) = node {
                // Of the table that was found when the statement was planned.
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

    /// Runs the plan of a statement that is for this.
    pub(crate) async fn answer_plan(&self, plan: LogicalPlan, effect: Effect) -> Result<Answer> {
        let is_execute = matches!(plan, LogicalPlan::Statement(LogicalStatement::Execute(_)));
        let frame = self.context.execute_logical_plan(plan).await?;
        let (state, logical) = frame.into_parts();
        let effect = match is_execute {
            true => Effect::of_prepared(&logical),
            false => effect,
        };
        let told = (self.tells_origins && effect == Effect::Rows).then(|| logical.clone());
        let held = Held::of(&logical)?;
        let mut rows = held.by(self.run_plan(state, logical).await?);
        if let Some(plan) = told {
            // The types are those of the rows: an optimizer may have found others than the plan had.
            let schema = with_origins(&rows.schema(), &plan, &self.default_schema())?;
            rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        }
        Ok(Answer { effect, rows })
    }

    async fn run_plan(
        &self,
        state: SessionState,
        logical: LogicalPlan,
    ) -> Result<SendableRecordBatchStream> {
        let Some(cluster) = self.engine.cluster() else {
            let plan = self.create_physical_plan(&state, &logical).await?;
            return execute_stream(with_yields(plan)?, self.context_of(&state));
        };
        let state = self.for_cluster(state).await;
        let listener = self.progress.as_ref();
        if let LogicalPlan::Analyze(analyze) = &logical {
            let plan = self.create_physical_plan(&state, &analyze.input).await?;
            let plan = cluster.distribute(plan, state.config(), listener)?;
            if let Some(described) = cluster.analyze(plan, self.context_of(&state)).await? {
                let (kinds, plans): (Vec<String>, Vec<String>) = described.into_iter().unzip();
                let kinds: ArrayRef = Arc::new(StringArray::from(kinds));
                let plans: ArrayRef = Arc::new(StringArray::from(plans));
                let schema = Arc::clone(analyze.schema.inner());
                return Ok(rows(RecordBatch::try_new(schema, vec![kinds, plans])?));
            }
        }
        let plan = self.create_physical_plan(&state, &logical).await?;
        let plan = cluster.distribute(plan, state.config(), listener)?;
        let stream = execute_stream(plan, self.context_of(&state))?;
        match &logical {
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

    /// Unless the session says otherwise, a plan has as many partitions as the cluster has slots.
    async fn for_cluster(&self, mut state: SessionState) -> SessionState {
        let slots = self.engine.cluster_slots().await;
        let own = SessionConfig::new().target_partitions();
        if slots > 0 && state.config().target_partitions() == own {
            let options = state.config_mut().options_mut();
            options.execution.target_partitions = slots;
        }
        state
    }

    /// A prepared statement is planned again at each execution, so that its models are those of that time.
    pub(crate) async fn prepare(
        &self,
        name: String,
        statement: DFStatement,
    ) -> Result<SendableRecordBatchStream> {
        if self.lock_prepared().contains_key(&name) {
            let message =
                format!("prepared statement \"{name}\" exists; DEALLOCATE {name} removes it");
            return Err(sql_err(SqlState::DuplicateName, message));
        }
        let plan = self.plan(statement.clone()).await?;
        self.check_access(&plan)?;
        let stream = self.execute(plan).await?;
        self.lock_prepared().insert(name, statement);
        Ok(stream)
    }

    pub(crate) async fn prepare_again(&self, name: &str) -> Result<()> {
        let Some(statement) = self.lock_prepared().get(name).cloned() else {
            return Ok(());
        };
        let plan = self.plan(statement).await?;
        // What was allowed then need not be now.
        self.check_access(&plan)?;
        let name = name.to_owned();
        let forget = LogicalPlan::Statement(LogicalStatement::Deallocate(Deallocate { name }));
        self.context.execute_logical_plan(forget).await?;
        self.context.execute_logical_plan(plan).await?;
        Ok(())
    }

    /// Forgets a prepared statement.
    pub(crate) fn forget_prepared(&self, name: &str) {
        self.lock_prepared().remove(name);
    }

    fn lock_prepared(&self) -> std::sync::MutexGuard<'_, HashMap<String, DFStatement>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans the query of a training; errors point into the whole statement.
    pub(crate) async fn plan_training_query(&self, query: &TrainingQuery) -> Result<LogicalPlan> {
        if let Ok(Some(Statement::DataFusion(statement))) = parse(&query.text) {
            // A feature is found by its name, so none is given a number.
            check_selected_names(&statement)?;
        }
        self.plan_query(&query.text).await.map_err(|error| {
            let mut found = report(&error);
            found.position = found.position.map(|position| query.position_of(position));
            found.into()
        })
    }

    /// Plans a query given as text.
    pub(crate) async fn plan_query(&self, text: &str) -> Result<LogicalPlan> {
        match parse(text)? {
            Some(Statement::DataFusion(statement)) => {
                let plan = self.plan(*statement).await?;
                self.check_access(&plan)?;
                Ok(plan)
            }
            _ => Err(sql_err(SqlState::Syntax, "a query is expected")),
        }
    }

    pub(crate) fn optimize(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        self.context.state().optimize(plan)
    }

    pub(crate) async fn physical_plan(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let state = self.for_cluster(self.context.state()).await;
        self.create_physical_plan(&state, plan).await
    }

    pub(crate) fn task_context(&self) -> Arc<TaskContext> {
        self.context_of(&self.context.state())
    }

    /// What plans run in: a state, and the memory of the statement.
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

    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// The tables of this session.
    pub(crate) fn temporary(&self) -> &Arc<TemporaryTables> {
        &self.temporary
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where names without a schema are.
    pub(crate) fn default_schema(&self) -> String {
        let state = self.context.state();
        state.config_options().catalog.default_schema.clone()
    }

    /// Lets names without a schema be in this one.
    pub(crate) fn set_default_schema(&self, schema: &str) {
        let state = self.context.state_ref();
        let mut state = state.write();
        let options = state.config_mut().options_mut();
        schema.clone_into(&mut options.catalog.default_schema);
    }

    /// Rows as a table that statements of this session find under the name that is returned, until it is removed.
    pub(crate) fn add_rows(&self, batch: RecordBatch) -> Result<TableReference> {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        let name = uuid::Uuid::new_v4().simple().to_string();
        let at = TableReference::full(BOUND_ROWS, BOUND_ROWS, name);
        if self.context.catalog(BOUND_ROWS).is_none() {
            let catalog = MemoryCatalogProvider::new();
            catalog.register_schema(BOUND_ROWS, Arc::new(MemorySchemaProvider::new()))?;
            self.context.register_catalog(BOUND_ROWS, Arc::new(catalog));
        }
        self.context.register_table(at.clone(), Arc::new(table))?;
        Ok(at)
    }

    /// Removes what `add_rows` added.
    pub(crate) fn remove_rows(&self, at: TableReference) {
        // It may be gone already.
        let _ = self.context.deregister_table(at);
    }

    pub(crate) fn progress(&self) -> Option<ProgressListener> {
        self.progress.clone()
    }

    pub(crate) fn settings<T: ConfigExtension + Default + Clone>(&self) -> T {
        self.context
            .state()
            .config_options()
            .extensions
            .get::<T>()
            .cloned()
            .unwrap_or_default()
    }
}

/// The rows of EXPLAIN, and one more that shows what is done where.
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
