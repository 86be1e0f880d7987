//! The table function `recommend(model, users [, top_k] [, exclude] [, items])`: the best items of each user.
//!
//! ```text
//! SQL ─ relation ─▶ RecommendNode ─ physical ─▶ RecommendExec
//!                     ├ users, with the items      ├ BatchCoalesceExec ─ users
//!                     │ that `exclude` lists       └ items, in one partition
//!                     └ items
//! ```
//! `exclude` is joined to the users before: as a list of items for each. So an operator sees one input of users, however many
//! pairs are excluded. The items are scored by blocks, and each user keeps as many as are wanted: there is no matrix of all users
//! and items. The files, in the order of a query:
//!
//! * `relation` the table function in SQL → [`node::RecommendNode`]; `exclude` the join with the excluded items
//! * `node` the logical node and its columns
//! * `physical` plans the operators of a node; `spec` what they compute
//! * `exec` the operator: vectors of users, the best items of each
//! * `candidates` the items among which it chooses, once for all partitions of a process
//! * `picks` the best items of some users as rows
//! * `codec` wire codec of the operator

mod candidates;
mod codec;
mod exclude;
mod exec;
mod node;
mod physical;
mod picks;
mod relation;
mod spec;

use std::sync::Arc;

use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::ExtensionPlanner;

pub(crate) use relation::ARGUMENTS;

use crate::error::Result;
use crate::model::ResolvedModels;
use crate::plan::extension::PlanExtension;
use crate::plan::node_planner::NodePlanner;

/// The plan extension of `recommend`.
#[derive(Debug)]
pub(crate) struct Recommend;

impl PlanExtension for Recommend {
    fn name(&self) -> &'static str {
        "recommend"
    }

    fn relation_planner(&self, models: &Arc<ResolvedModels>) -> Option<Arc<dyn RelationPlanner>> {
        Some(Arc::new(relation::RecommendRelation {
            models: Arc::clone(models),
        }))
    }

    fn physical_planner(&self) -> Option<Arc<dyn ExtensionPlanner + Send + Sync>> {
        Some(Arc::new(NodePlanner(physical::plan)))
    }

    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
        codec::encode(exec)
    }

    fn decode_exec(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        codec::decode(bytes, inputs)
    }
}
