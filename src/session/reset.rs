//! RESET of settings `vatic.*`.

use datafusion::logical_expr::{LogicalPlan, SetVariable, Statement as LogicalStatement};

use super::Session;
use crate::error::Result;

impl Session {
    /// RESET of a setting `vatic.*` as SET to the value that a new session has, because DataFusion resets only settings of its own.
    pub(crate) fn with_reset_as_set(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let LogicalPlan::Statement(LogicalStatement::ResetVariable(reset)) = &plan else {
            return Ok(plan);
        };
        let name = reset.variable.to_lowercase();
        if !name.starts_with("vatic.") {
            return Ok(plan);
        }
        let fresh = self.engine.session()?.context.state();
        let entries = fresh.config_options().entries();
        let found = entries.into_iter().find(|entry| entry.key == name);
        // SET reports a setting that does not exist.
        let value = found.and_then(|entry| entry.value).unwrap_or_default();
        let set = SetVariable {
            variable: name,
            value,
        };
        Ok(LogicalPlan::Statement(LogicalStatement::SetVariable(set)))
    }
}
