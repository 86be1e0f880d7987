//! [`one_input`]: the methods of `ExecutionPlan` that are the same in all operators with one input.

/// Defines `children`, `with_new_children` and `apply_expressions` for an operator with one input, its field `input`, and
/// without expressions. The operator's `with_input` makes the same operator above another input. With `in_order`, it also
/// defines `properties` and `maintains_input_order`: the rows have the columns, partitions and order of the input.
macro_rules! one_input {
    (in_order) => {
        fn properties(&self) -> &std::sync::Arc<datafusion::physical_plan::PlanProperties> {
            self.input.properties()
        }

        fn maintains_input_order(&self) -> Vec<bool> {
            vec![true]
        }

        $crate::plan::one_input::one_input!();
    };
    () => {
        fn children(&self) -> Vec<&std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
            vec![&self.input]
        }

        fn with_new_children(
            self: std::sync::Arc<Self>,
            children: Vec<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
        ) -> datafusion::common::Result<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>
        {
            let [input] = $crate::plan::one_input::only(children)?;
            self.with_input(input)
        }

        fn apply_expressions(
            &self,
            _visit: &mut dyn FnMut(
                &std::sync::Arc<dyn datafusion::physical_plan::PhysicalExpr>,
            ) -> datafusion::common::Result<
                datafusion::common::tree_node::TreeNodeRecursion,
            >,
        ) -> datafusion::common::Result<datafusion::common::tree_node::TreeNodeRecursion> {
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        }
    };
}

use std::sync::Arc;

use datafusion::common::internal_datafusion_err;
use datafusion::physical_plan::ExecutionPlan;

pub(crate) use one_input;

use crate::error::Result;

/// The only child of an operator with one input.
pub(crate) fn only(children: Vec<Arc<dyn ExecutionPlan>>) -> Result<[Arc<dyn ExecutionPlan>; 1]> {
    let count = children.len();
    let wrong = |_| internal_datafusion_err!("an operator with one input was given {count}");
    children.try_into().map_err(wrong)
}
