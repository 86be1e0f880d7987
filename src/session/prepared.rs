//! Prepared statements of a session.

use std::collections::HashMap;
use std::sync::PoisonError;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Deallocate, LogicalPlan, Statement as LogicalStatement};
use datafusion::sql::parser::Statement as DFStatement;

use super::Session;
use crate::error::{Result, SqlState, sql_err};

impl Session {
    /// Prepares a statement. Each execution plans it again, to resolve its models at that time.
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

    /// Plans a prepared statement again, before its execution.
    pub(crate) async fn prepare_again(&self, name: &str) -> Result<()> {
        let Some(statement) = self.lock_prepared().get(name).cloned() else {
            return Ok(());
        };
        let plan = self.plan(statement).await?;
        // Rights may have been revoked since PREPARE.
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
}
