//! `FROM t TABLESAMPLE BERNOULLI (10) REPEATABLE (7)`: each row is taken with this probability.
//!
//! ```text
//! SQL ─ relation ─▶ SampleNode ─▶ SampleExec
//! ```
//! Without a seed each partition draws for itself. With one, rows are told apart by their content, and equal rows by
//! which of them comes first, so that neither partitions nor order nor process show in what is taken. No filter and no
//! limit goes below: a sample is of the relation that it is written behind.
//!
//! * `relation` the clause in SQL → [`node::SampleNode`]
//! * `node` what may pass through
//! * `exec` which rows are taken

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
use crate::plan::extension::{PlanExtension, from_wire, to_wire};

/// `TABLESAMPLE`.
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
        Some(Arc::new(exec::SamplePlanner))
    }

    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
        let sample = exec.downcast_ref::<exec::SampleExec>()?;
        Some(to_wire(&sample.draw()))
    }

    fn decode_exec(
        &self,
        bytes: &[u8],
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let draw = from_wire(bytes)?;
        Ok(Arc::new(exec::SampleExec::new(input, draw)))
    }
}

/// Whether a node takes other rows each time.
pub(crate) fn is_drawn_anew(node: &LogicalPlan) -> bool {
    let LogicalPlan::Extension(Extension { node }) = node else {
        return false;
    };
    let sample = node.as_any().downcast_ref::<node::SampleNode>();
    sample.is_some_and(|sample| sample.seed.is_none())
}

/// Whether an operator draws by where rows are in its partitions, whose numbers must be those of the whole plan.
pub(crate) fn draws_by_place(exec: &dyn ExecutionPlan) -> bool {
    let sample = exec.downcast_ref::<exec::SampleExec>();
    sample.is_some_and(exec::SampleExec::is_by_place)
}

/// Whether an operator draws.
pub(crate) fn draws_rows(exec: &dyn ExecutionPlan) -> bool {
    exec.downcast_ref::<exec::SampleExec>().is_some()
}
