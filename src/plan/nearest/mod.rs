//! `nearest(queries, items, top_k => 10, metric => 'cosine')`: for each vector of one relation the nearest vectors of another.
//!
//! ```text
//! SQL ─ relation ─▶ NearestNode ─ physical ─▶ MergeExec: the nearest of all partitions
//!                                               CoalescePartitionsExec
//!                                                 SearchExec: the nearest of each partition of the items
//!                                                   queries, in one partition
//!                                                   items
//! ```
//! `row_number() OVER (PARTITION BY q.id ORDER BY cosine_distance(q.v, i.v)) <= 10` over a cross join gives the same rows, but copies
//! both vectors for each pair. Here, blocks of queries and items meet in matrix products of single precision. A product is only a
//! bound: what may be among the nearest gets its exact distance, so rows and distances do not depend on blocks, partitions or
//! machines. Of equal distances, the item with the smaller columns is first.
//!
//! * `relation` the call in SQL → [`node::NearestNode`]
//! * `node` the logical node; `spec` what it and the operators know of the call
//! * `physical` plans the operators of a node
//! * `search_exec` the operator that searches a partition; `queries` the queries that all its partitions share
//! * `merge_exec` the operator that merges the nearest of all partitions
//! * `block` vectors beside each other, and the bounds of their distances
//! * `best` the nearest so far, with their columns as bytes
//! * `codec` wire codec of the operators
//! * `index` indexes, with which a search need not read all items

mod best;
mod block;
mod codec;
pub(crate) mod index;
mod merge_exec;
mod node;
mod physical;
mod queries;
mod relation;
mod search_exec;
mod spec;

use std::sync::Arc;

use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::ExtensionPlanner;

use crate::error::Result;
use crate::model::ResolvedModels;
use crate::plan::extension::PlanExtension;
use crate::plan::node_planner::NodePlanner;

pub(crate) use node::NearestNode;
pub(crate) use relation::NAMES as NEAREST_ARGUMENTS;
pub(crate) use spec::{Metric, is_vector};

/// The plan extension of `nearest`.
#[derive(Debug)]
pub(crate) struct Nearest;

impl PlanExtension for Nearest {
    fn name(&self) -> &'static str {
        "nearest"
    }

    fn relation_planner(&self, _models: &Arc<ResolvedModels>) -> Option<Arc<dyn RelationPlanner>> {
        Some(Arc::new(relation::NearestRelation))
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
