//! Plans statements for a session, and for the catalog with the rights of an object's owner.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, Statement as PlanStatement};
use datafusion::sql::parser::Statement as DFStatement;

use crate::access::Access;
use crate::access::files::FileAccess;
use crate::access::grants::Privilege;
use crate::access::ownership::Ownership;
use crate::catalog::OwnerPlanner;
use crate::catalog::changes::with_changes;
use crate::catalog::file_relations::open_files;
use crate::engine::Engine;
use crate::error::Result;
use crate::extensions::EXTENSIONS;
use crate::model::ResolvedModels;
use crate::plan::csv::with_text_in_csv;
use crate::plan::keys::SoundRelations;
use crate::plan::once::keep_marks;
use crate::plan::prepare::{plan_with_names, prepare};
use crate::plan::series::WindowsRelation;
use crate::plan::summary::SummarizeRelation;
use crate::plan::times::wide_times;
use crate::plan::types::prepare_columns;
use crate::predict::{call_forms, register_model_functions};
use crate::sql::{prepare_calls, prepare_relations};

impl Engine {
    /// Plans a DataFusion statement, which may call our relation functions and functions of models. Resolves each model once.
    pub(crate) async fn plan(
        &self,
        state: &SessionState,
        access: &Access,
        mut statement: DFStatement,
    ) -> Result<LogicalPlan> {
        let mut references = prepare_relations(&mut statement)?;
        references.extend(prepare_calls(&mut statement, &call_forms())?);
        let mut models = ResolvedModels::new();
        for reference in references {
            let model = self
                .registry()
                .get_for(access, Privilege::Execute, &reference.name)?;
            let model = Arc::new(self.registry().resolve(&reference, &model)?);
            models.insert(reference, model);
        }
        let models = Arc::new(models);
        let files = Box::pin(open_files(self, state, &mut statement)).await?;
        let mut state = state.clone();
        prepare_columns(&mut statement, &mut state)?;
        register_model_functions(&mut state, &models)?;
        for planner in EXTENSIONS
            .iter()
            .filter_map(|extension| extension.relation_planner(&models))
        {
            state.register_relation_planner(planner)?;
        }
        state.register_relation_planner(Arc::new(WindowsRelation))?;
        state.register_relation_planner(Arc::new(SummarizeRelation))?;
        if !files.is_empty() {
            state.register_relation_planner(Arc::new(files))?;
        }
        state.register_relation_planner(Arc::new(SoundRelations::default()))?;
        prepare(&mut statement, &state)?;
        let planned = Box::pin(plan_with_names(&state, statement)).await;
        let plan = planned.map_err(|error| self.catalog().not_found(access, error))?;
        let plan = with_changes(plan)?;
        // Comes before any other code reads the types of the plan's columns.
        let plan = with_text_in_csv(keep_marks(wide_times(plan)?)?)?;
        match plan {
            // DataFusion would optimize a PREPARE that no analyzer rule has seen.
            LogicalPlan::Statement(PlanStatement::Prepare(mut prepared)) => {
                let input = Arc::unwrap_or_clone(prepared.input);
                let options = state.config_options();
                let input = state
                    .analyzer()
                    .execute_and_check(input, options, |_, _| {})?;
                prepared.input = Arc::new(input);
                Ok(LogicalPlan::Statement(PlanStatement::Prepare(prepared)))
            }
            plan => Ok(plan),
        }
    }
}

#[async_trait]
impl OwnerPlanner for Engine {
    fn owner(&self, ownership: &Ownership) -> Access {
        Access::of_owner(ownership, self.grants())
    }

    fn state(&self, access: &Access) -> Result<SessionState> {
        Ok(self.session_as(access.clone())?.context().state())
    }

    async fn plan(
        &self,
        state: &SessionState,
        access: &Access,
        statement: DFStatement,
    ) -> Result<LogicalPlan> {
        Self::plan(self, state, access, statement).await
    }

    fn files(&self) -> &FileAccess {
        Self::files(self)
    }
}
