//! [`AddMissingSorts`]: adds the missing sorts to a plan that fails DataFusion's check, and checks the plan once more.
//!
//! DataFusion 55 forgets an order after it has relied on it:
//!
//! * An inner join makes two columns equal, one of which is never NULL. An order of that column with NULLS LAST is then also an
//!   order of the other with NULLS FIRST. When a later rule drops the first column, only an order with NULLS LAST remains.
//! * A column that is constant on the right of a join is not known to be constant above the join
//!   (`EquivalenceClass::try_with_offset`), although a sort by the column was moved below the join.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, replace_children_if_necessary,
};

use crate::error::Result;
use crate::plan::joins::hidden_join::Rule;

#[derive(Debug)]
pub(crate) struct AddMissingSorts(pub(crate) Rule);

impl PhysicalOptimizerRule for AddMissingSorts {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let checked = self.0.optimize(Arc::clone(&plan), options);
        let Err(problem) = checked else {
            return checked;
        };
        tracing::debug!(%problem, "adding missing sorts to a plan");
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

/// The operator, with a sort above each child that does not have the required order.
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
