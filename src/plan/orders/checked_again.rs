//! [`CheckedAgain`]: a plan that fails DataFusion's check gets the sorts that it lacks, and is checked once more.
//!
//! DataFusion 55 forgets an order after it has relied on it:
//!
//! * An inner join takes two columns for equal, of which one is never NULL, so an order of that one with NULLs last is also an
//!   order of the other with NULLs first. When a later rule drops the first column, what is left is an order with NULLs last.
//! * A column that is constant on the right of a join is not known to be so above it (`EquivalenceClass::try_with_offset`), while
//!   a sort by it has been moved below.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, replace_children_if_necessary,
};

use crate::error::Result;
use crate::plan::joins::veil::Rule;

#[derive(Debug)]
pub(crate) struct CheckedAgain(pub(crate) Rule);

impl PhysicalOptimizerRule for CheckedAgain {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let checked = self.0.optimize(Arc::clone(&plan), options);
        let Err(problem) = checked else {
            return checked;
        };
        tracing::debug!(%problem, "a plan gets the sorts that it lacks");
        let sorted = plan.transform_up(|exec| sort_children(exec).map(Transformed::yes))?;
        self.0.optimize(sorted.data, options).map_err(|_| problem)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// The operator above children that have the order it requires.
fn sort_children(exec: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let required = exec.required_input_ordering().into_iter();
    let children = exec
        .children()
        .into_iter()
        .zip(required)
        .map(|(child, required)| {
            let child = Arc::clone(child);
            let Some(required) = required.map(|required| required.into_single()) else {
                return Ok(child);
            };
            let ordered = child.equivalence_properties();
            if ordered.ordering_satisfy_requirement(required.clone())? {
                return Ok(child);
            }
            let sort = SortExec::new(required.into(), child).with_preserve_partitioning(true);
            Ok(Arc::new(sort) as Arc<dyn ExecutionPlan>)
        });
    let children = children.collect::<Result<Vec<_>>>()?;
    replace_children_if_necessary(exec, children)
}
