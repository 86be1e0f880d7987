//! Planning for a session: statements, views, the queries of trainings, and physical plans.

use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement as DFStatement;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::Session;
use super::planner_thread::on_planner_thread;
use crate::catalog::temporary::take_temporary;
use crate::error::{Result, SqlState, report, sql_err};
use crate::sql::{
    Statement, TrainingQuery, check_plan, check_selected_names, check_statement, parse, with_hint,
};
use crate::storage::DEFAULT_SCHEMA;

impl Session {
    /// Plans a DataFusion statement on a planner thread.
    pub(crate) async fn plan(&self, mut statement: DFStatement) -> Result<LogicalPlan> {
        let is_temporary = take_temporary(&mut statement);
        let mut plan = self.plan_in(self.context.state(), statement).await?;
        if let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) = &mut plan {
            table.temporary = is_temporary;
        }
        Ok(plan)
    }

    /// Plans a view as the catalog plans it whenever it is opened: names without a schema belong to the schema `public`,
    /// not to the session's. Otherwise the view could later read tables that its creator may not read.
    pub(crate) async fn plan_view(&self, statement: DFStatement) -> Result<LogicalPlan> {
        self.plan_in(self.view_state()?, statement).await
    }

    /// The session's state, but names without a schema belong to the schema `public`.
    pub(crate) fn view_state(&self) -> Result<SessionState> {
        let mut state = self.context.state();
        let fresh = self.engine.session()?.context.state();
        let options = state.config_mut().options_mut();
        DEFAULT_SCHEMA.clone_into(&mut options.catalog.default_schema);
        // The rules for upper and lower case and for quotes of names are the defaults too.
        options.sql_parser = fresh.config_options().sql_parser.clone();
        Ok(state)
    }

    async fn plan_in(&self, state: SessionState, statement: DFStatement) -> Result<LogicalPlan> {
        check_statement(&statement, &self.limits)?;
        let (engine, access) = (self.engine.clone(), self.access.clone());
        let planning = async move { engine.plan(&state, &access, statement).await };
        self.plan_within_limits(planning.boxed()).await
    }

    /// Runs `work` on a planner thread and checks the plan against the session's limits.
    pub(crate) async fn plan_within_limits(
        &self,
        work: BoxFuture<'static, Result<LogicalPlan>>,
    ) -> Result<LogicalPlan> {
        let limits = Arc::clone(&self.limits);
        on_planner_thread(&self.planning, self.limits.planning, async move {
            let plan = work.await?;
            check_plan(&plan, &limits)?;
            Ok(plan)
        })
        .await
    }

    pub(super) async fn create_physical_plan(
        &self,
        state: &SessionState,
        plan: &LogicalPlan,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (state, plan) = (state.clone(), plan.clone());
        on_planner_thread(&self.planning, self.limits.planning, async move {
            state.create_physical_plan(&plan).await
        })
        .await
    }

    /// Plans the query of a training. Errors have their position in the whole statement.
    pub(crate) async fn plan_training_query(&self, query: &TrainingQuery) -> Result<LogicalPlan> {
        if let Ok(Some(Statement::DataFusion(statement))) = parse(&query.text) {
            // Features are found by name, so a second column of the same name is refused instead of numbered.
            check_selected_names(&statement)?;
        }
        self.plan_query(&query.text).await.map_err(|error| {
            let mut found = report(&with_hint(error, &query.text));
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
}
