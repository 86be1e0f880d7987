//! [`ReplaceRule`]: a physical optimizer rule that replaces some operators.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::error::Result;

/// Returns the replacement of an operator; `None` keeps the operator.
type Other = fn(&Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>>;

/// Replaces some operators, from the tables up.
#[derive(Debug)]
pub(crate) struct ReplaceRule {
    pub(crate) name: &'static str,
    pub(crate) other: Other,
}

impl PhysicalOptimizerRule for ReplaceRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let changed = plan.transform_up(|exec| {
            Ok(match (self.other)(&exec)? {
                Some(other) => Transformed::yes(other),
                None => Transformed::no(exec),
            })
        })?;
        Ok(changed.data)
    }

    fn name(&self) -> &str {
        self.name
    }

    fn schema_check(&self) -> bool {
        true
    }
}
