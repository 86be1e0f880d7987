//! [`Instead`]: a physical rule that puts another operator in the place of some.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::error::Result;

/// The operator that comes in the place of one, if it has to be another.
type Other = fn(&Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>>;

/// Puts another operator in the place of some, from the tables up.
#[derive(Debug)]
pub(crate) struct Instead {
    pub(crate) name: &'static str,
    pub(crate) other: Other,
}

impl PhysicalOptimizerRule for Instead {
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
