//! `SELECT … FROM predict(model, input)`: the input's rows with the model's outputs appended.
//!
//! ```text
//! SQL ─ relation ─▶ PredictNode ─ DataFusion's optimizer, prune ─▶ PredictNode ─ physical ─▶ PredictExec
//!                                                                                              └ BatchCoalesceExec
//!                                                                                                 └ input
//! ```
//! Filters on input columns and limits go below the node, columns nobody reads are pruned; `prune` drops outputs that
//! nobody reads. In order of a query:
//!
//! * `relation` the table function in SQL → [`node::PredictNode`]
//! * `node` output schema, what may pass through
//! * `prune` outputs that nobody reads
//! * `physical` the operators for a node
//! * `coalesce` whatever batches arrive → batches of the size that the model wants
//! * `exec` record batches ↔ model workers
//! * `codec` the operators ↔ bytes

mod coalesce;
mod codec;
mod exec;
mod node;
mod physical;
mod prune;
mod relation;

use std::sync::Arc;

use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::ExtensionPlanner;

pub(crate) use coalesce::{BatchCoalesceExec, BatchSize};
pub(crate) use prune::PruneOutputs;

use crate::error::Result;
use crate::model::ResolvedModels;
use crate::plan::extension::PlanExtension;

/// `predict`.
#[derive(Debug)]
pub(crate) struct Predict;

impl PlanExtension for Predict {
    fn name(&self) -> &'static str {
        "predict"
    }

    fn relation_planner(&self, models: &Arc<ResolvedModels>) -> Option<Arc<dyn RelationPlanner>> {
        Some(Arc::new(relation::PredictRelation {
            models: Arc::clone(models),
        }))
    }

    fn physical_planner(&self) -> Option<Arc<dyn ExtensionPlanner + Send + Sync>> {
        Some(Arc::new(physical::PredictPlanner))
    }

    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
        codec::encode(exec)
    }

    fn decode_exec(
        &self,
        bytes: &[u8],
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        codec::decode(bytes, input)
    }
}
