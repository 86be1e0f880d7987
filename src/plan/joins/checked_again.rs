//! [`CheckedAgain`]: a plan that fails DataFusion's check gets its sorts and exchanges anew, and is checked once more.
//!
//! An inner join takes two columns for equal, of which one is never NULL, so an order of that one with NULLs last is also an
//! order of the other with NULLs first. When a later rule drops the first column, what is left is an order with NULLs last,
//! and the check refuses the plan.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use super::veil::Rule;
use crate::error::Result;

#[derive(Debug)]
pub(crate) struct CheckedAgain {
    pub(crate) check: Rule,
    /// What meets the requirements of operators, one after the other.
    pub(crate) enforce: Vec<Rule>,
}

impl PhysicalOptimizerRule for CheckedAgain {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let checked = self.check.optimize(Arc::clone(&plan), options);
        let Err(problem) = checked else {
            return checked;
        };
        tracing::debug!(%problem, "a plan is enforced again");
        let enforced = self
            .enforce
            .iter()
            .try_fold(plan, |plan, rule| rule.optimize(plan, options))?;
        self.check.optimize(enforced, options).map_err(|_| problem)
    }

    fn name(&self) -> &str {
        self.check.name()
    }

    fn schema_check(&self) -> bool {
        self.check.schema_check()
    }
}
