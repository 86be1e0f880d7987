//! [`Session`]: SQL text in, record batches out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::config::ConfigExtension;
use datafusion::common::format::ExplainFormat;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::{
    DdlStatement, Deallocate, LogicalPlan, Statement as LogicalStatement,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{Ident, Statement as SqlStatement};
use futures::StreamExt;

use crate::engine::Engine;
use crate::error::{Result, SqlState, report, sql_err};
use crate::model::commands;
use crate::sql::{Statement, TrainingQuery, parse};
use crate::state::session_state;
use crate::train::{self, ProgressListener};

/// One client's view of an engine: its settings and prepared statements.
#[derive(Clone)]
pub struct Session {
    engine: Engine,
    context: SessionContext,
    prepared: Arc<Mutex<HashMap<String, DFStatement>>>,
    progress: Option<ProgressListener>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.context.session_id())
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn try_new(engine: Engine) -> Result<Self> {
        let context = SessionContext::new_with_state(session_state(&engine)?);
        Ok(Self {
            engine,
            context,
            prepared: Arc::default(),
            progress: None,
        })
    }

    /// Tells `listener` of the progress of trainings.
    #[must_use]
    pub fn with_progress(mut self, listener: ProgressListener) -> Self {
        self.progress = Some(listener);
        self
    }

    /// Runs one statement. Rows come as they are computed; a training begins when the stream is first polled.
    ///
    /// # Errors
    /// Of syntax and planning; those of execution come through the stream.
    pub async fn sql(&self, text: &str) -> Result<SendableRecordBatchStream> {
        let Some(statement) = parse(text)? else {
            return Ok(empty());
        };
        match statement {
            Statement::DataFusion(statement) => Box::pin(self.run(*statement, text)).await,
            Statement::Train(statement) => {
                let session = self.clone();
                Ok(later(
                    async move { Box::pin(train::train(&session, &statement)).await },
                    train::result_schema(),
                ))
            }
            Statement::ExplainTrain(statement) => {
                Ok(rows(Box::pin(train::explain(self, &statement)).await?))
            }
            Statement::Model(statement) => Box::pin(commands::run(self, statement)).await,
        }
    }

    /// Runs a statement of DataFusion's.
    async fn run(&self, statement: DFStatement, text: &str) -> Result<SendableRecordBatchStream> {
        let catalog = self.engine.catalog();
        match &statement {
            DFStatement::CreateExternalTable(table) => {
                catalog.create_external(self, table.clone(), text).await?;
                return Ok(empty());
            }
            DFStatement::Statement(inner) => match inner.as_ref() {
                SqlStatement::CreateView(_) => {
                    catalog.create_view(self, statement).await?;
                    return Ok(empty());
                }
                SqlStatement::Prepare { name, .. } => {
                    let name = folded(name);
                    return self.prepare(name, statement).await;
                }
                SqlStatement::Execute {
                    name: Some(name), ..
                } => {
                    let name = name
                        .0
                        .iter()
                        .filter_map(|part| part.as_ident())
                        .map(folded)
                        .collect::<String>();
                    self.prepare_again(&name).await?;
                }
                SqlStatement::Deallocate { name, .. } => {
                    self.lock_prepared().remove(&folded(name));
                }
                _ => {}
            },
            _ => {}
        }
        let plan = self.engine.plan(&self.context.state(), statement).await?;
        match plan {
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) => {
                catalog.create_table(self, table).await?;
                Ok(empty())
            }
            LogicalPlan::Ddl(ddl) => {
                catalog.change(ddl)?;
                Ok(empty())
            }
            plan => self.execute(plan).await,
        }
    }

    pub(crate) async fn execute(&self, plan: LogicalPlan) -> Result<SendableRecordBatchStream> {
        let frame = self.context.execute_logical_plan(plan).await?;
        let Some(cluster) = self.engine.cluster() else {
            return frame.execute_stream().await;
        };
        let (state, logical) = frame.into_parts();
        let state = self.for_cluster(state).await;
        let listener = self.progress.as_ref();
        if let LogicalPlan::Analyze(analyze) = &logical {
            let plan = state.create_physical_plan(&analyze.input).await?;
            let plan = cluster.distribute(plan, state.config(), listener)?;
            if let Some(described) = cluster.analyze(plan, state.task_ctx()).await? {
                let (kinds, plans): (Vec<String>, Vec<String>) = described.into_iter().unzip();
                let kinds: ArrayRef = Arc::new(StringArray::from(kinds));
                let plans: ArrayRef = Arc::new(StringArray::from(plans));
                let schema = Arc::clone(analyze.schema.inner());
                return Ok(rows(RecordBatch::try_new(schema, vec![kinds, plans])?));
            }
        }
        let plan = state.create_physical_plan(&logical).await?;
        let plan = cluster.distribute(plan, state.config(), listener)?;
        let stream = execute_stream(plan, state.task_ctx())?;
        match &logical {
            LogicalPlan::Explain(explain) if explain.explain_format == ExplainFormat::Indent => {
                let plan = state.create_physical_plan(&explain.plan).await?;
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
    async fn prepare(
        &self,
        name: String,
        statement: DFStatement,
    ) -> Result<SendableRecordBatchStream> {
        if self.lock_prepared().contains_key(&name) {
            let message =
                format!("prepared statement \"{name}\" exists; DEALLOCATE {name} removes it");
            return Err(sql_err(SqlState::DuplicateName, message));
        }
        let plan = self
            .engine
            .plan(&self.context.state(), statement.clone())
            .await?;
        let stream = self.execute(plan).await?;
        self.lock_prepared().insert(name, statement);
        Ok(stream)
    }

    async fn prepare_again(&self, name: &str) -> Result<()> {
        let Some(statement) = self.lock_prepared().get(name).cloned() else {
            return Ok(());
        };
        let plan = self.engine.plan(&self.context.state(), statement).await?;
        let name = name.to_owned();
        let forget = LogicalPlan::Statement(LogicalStatement::Deallocate(Deallocate { name }));
        self.context.execute_logical_plan(forget).await?;
        self.context.execute_logical_plan(plan).await?;
        Ok(())
    }

    fn lock_prepared(&self) -> std::sync::MutexGuard<'_, HashMap<String, DFStatement>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans the query of a training; errors point into the whole statement.
    pub(crate) async fn plan_training_query(&self, query: &TrainingQuery) -> Result<LogicalPlan> {
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
                self.engine.plan(&self.context.state(), *statement).await
            }
            _ => Err(sql_err(SqlState::Syntax, "a query is expected")),
        }
    }

    pub(crate) fn optimize(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        self.context.state().optimize(plan)
    }

    pub(crate) async fn physical_plan(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let state = self.for_cluster(self.context.state()).await;
        state.create_physical_plan(plan).await
    }

    pub(crate) fn task_context(&self) -> Arc<TaskContext> {
        self.context.task_ctx()
    }

    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
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

/// An identifier as DataFusion keeps it.
fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() {
        name.value.clone()
    } else {
        name.value.to_lowercase()
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

/// No columns and no rows.
pub(crate) fn empty() -> SendableRecordBatchStream {
    rows(RecordBatch::new_empty(Arc::new(Schema::empty())))
}

/// One batch.
pub(crate) fn rows(batch: RecordBatch) -> SendableRecordBatchStream {
    let schema = batch.schema();
    Box::pin(RecordBatchStreamAdapter::new(
        schema,
        futures::stream::once(async { Ok(batch) }),
    ))
}

/// One batch that is computed when it is asked for.
fn later(
    work: impl Future<Output = Result<RecordBatch>> + Send + 'static,
    schema: Arc<Schema>,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(
        schema,
        futures::stream::once(work),
    ))
}
