//! The table function `predict(model, input)`, which appends the model's outputs to the rows of the input, and the functions of
//! expressions that models compute.
//!
//! ```text
//! SQL ─ relation ─▶ PredictNode ─ DataFusion's optimizer, prune ─▶ PredictNode ─ physical ─▶ PredictExec
//!                                                                                              └ BatchCoalesceExec
//!                                                                                                 └ input
//! ```
//! Filters on input columns and limits move below the node, and unread input columns are pruned; `prune` removes unread
//! outputs, and `joins` moves the node below or above joins. The files, in the order of a query:
//!
//! * `relation` the table function in SQL → [`node::PredictNode`]; `arguments` its named arguments → `options`; `call_task` those that
//!   change what the model does; `generation` those that say how it writes text
//! * `functions` calls in expressions → [`node::PredictNode`]
//! * `chunk` a row for each part of a long text, below the model
//! * `node` the logical node: output schema, push-down of filters and limits; `added` the schema of a node that adds columns
//! * `prune` optimizer rule that removes unread outputs; `joins` the one that moves models below or above joins
//! * `physical` plans the operators of a node; `spec` what they compute
//! * `coalesce` operator that regroups rows into batches of the size that the model wants
//! * `exec` operator that sends batches to the model workers; `task` the batches of a partition, `load` their model,
//!   `metrics` their counts
//! * `gather` a batch that takes several calls of the model: `known` equal rows are computed once, `passes` texts are sorted by tokens,
//!   `assemble` the outputs return to their rows
//! * `notice` counts texts whose ends were left out
//! * `codec` wire codec of the operators

mod added;
mod arguments;
mod assemble;
mod call_task;
mod chunk;
mod coalesce;
mod codec;
mod exec;
mod functions;
mod gather;
mod generation;
mod joins;
mod known;
mod load;
mod metrics;
mod node;
mod notice;
mod options;
mod passes;
mod physical;
mod prune;
mod relation;
mod spec;
mod task;

use std::sync::Arc;

use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::ExtensionPlanner;

pub(crate) use coalesce::{BatchCoalesceExec, BatchSize, WantedSize};
pub(crate) use functions::{ComputeCalls, call_forms, register_model_functions};
pub(crate) use joins::ModelsByJoins;
pub(crate) use notice::{may_truncate, truncated};
pub(crate) use prune::PruneOutputs;
pub(crate) use relation::ARGUMENTS;

use crate::error::Result;
use crate::model::ResolvedModels;
use crate::plan::extension::{PlanExtension, only_input};

/// The plan extension of `predict`.
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
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        codec::decode(bytes, only_input(inputs)?)
    }
}
