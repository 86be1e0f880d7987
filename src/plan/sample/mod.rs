//! `FROM t TABLESAMPLE BERNOULLI (10) REPEATABLE (7)`: a relation that keeps each row with this probability.
//!
//! ```text
//! SQL ─ relation ─▶ SampleNode ─▶ SampleExec
//! ```
//! Without a seed each partition draws for itself. With a seed, a draw depends on the content of a row and, among equal
//! rows, on their sequence, so that partitions, order and process do not change the sample. No filter and no limit moves
//! below the node: a sample is of the relation before TABLESAMPLE.
//!
//! * `relation` the planner from the clause to [`node::SampleNode`]
//! * `node` the logical node, and what may move below it
//! * `exec` the operator that draws rows

mod exec;
mod node;
mod relation;

use std::sync::Arc;

use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::ExtensionPlanner;

use crate::error::Result;
use crate::model::ResolvedModels;
use crate::plan::extension::{PlanExtension, from_wire, only_input, to_wire};
use crate::plan::node_planner::NodePlanner;

/// The plan extension for `TABLESAMPLE`.
#[derive(Debug)]
pub(crate) struct Sample;

impl PlanExtension for Sample {
    fn name(&self) -> &'static str {
        "sample"
    }

    fn relation_planner(&self, _models: &Arc<ResolvedModels>) -> Option<Arc<dyn RelationPlanner>> {
        Some(Arc::new(relation::SampleRelation))
    }

    fn physical_planner(&self) -> Option<Arc<dyn ExtensionPlanner + Send + Sync>> {
        Some(Arc::new(NodePlanner(exec::plan)))
    }

    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
        let sample = exec.downcast_ref::<exec::SampleExec>()?;
        Some(to_wire(&sample.draw()))
    }

    fn decode_exec(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (input, draw) = (only_input(inputs)?, from_wire(bytes)?);
        Ok(Arc::new(exec::SampleExec::new(input, draw)))
    }
}

/// Whether a node takes different rows each time.
pub(crate) fn is_drawn_anew(node: &LogicalPlan) -> bool {
    let LogicalPlan::Extension(Extension { node }) = node else {
        return false;
    };
    let sample = node.as_any().downcast_ref::<node::SampleNode>();
    sample.is_some_and(|sample| sample.seed.is_none())
}

/// Whether an operator draws by the place of rows in its partitions; the partition numbers must be those of the whole plan.
pub(crate) fn draws_by_place(exec: &dyn ExecutionPlan) -> bool {
    let sample = exec.downcast_ref::<exec::SampleExec>();
    sample.is_some_and(exec::SampleExec::is_by_place)
}

/// Whether an operator draws rows.
pub(crate) fn draws_rows(exec: &dyn ExecutionPlan) -> bool {
    exec.downcast_ref::<exec::SampleExec>().is_some()
}
