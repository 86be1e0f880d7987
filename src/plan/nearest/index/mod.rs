//! Indexes of vectors: graphs that find nearly the nearest rows of a data file without reading all of its vectors (decision 0060).
//!
//! An index decides only which rows a scan reads. The plan above it computes the distances of these rows and keeps the nearest, so
//! a row is never wrong and never stale. What has no graph is read in full.
//!
//! ```text
//! SortExec: TopK                        MergeExec
//!   ProjectionExec: distance              SearchExec
//!     UnionExec                             queries
//!       IndexExec: the near rows            UnionExec
//!         scan of files with graphs           IndexExec: the near rows of all queries
//!       scan of other files                     scan of files with graphs
//!                                               queries
//!                                             scan of other files
//! ```
//!
//! * `measure` how graphs measure distances
//! * `walk` the way through a graph, in memory and in a file
//! * `graph` a graph in memory, to which vectors are added one by one
//! * `file` the graphs of a data file as a file
//! * `write` builds the graphs of a data file and writes their file
//! * `search` the near rows of queries, from a file of graphs
//! * `spec` what the node and the operator know of an index; `node` the logical node, `exec` the operator, `codec` its wire codec

mod codec;
mod exec;
mod file;
mod graph;
mod measure;
mod node;
mod search;
mod spec;
mod walk;
mod write;

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::ExtensionPlanner;

use crate::error::Result;
use crate::plan::extension::PlanExtension;
use crate::plan::node_planner::NodePlanner;

pub(crate) use exec::{unread_graphs, uses_index};
pub(crate) use node::IndexNode;
pub(crate) use spec::{GraphPlace, IndexSpec, Unused};
pub(crate) use write::{Expected, GraphOptions, Graphs, write_graphs};

/// The plan extension of indexes.
#[derive(Debug)]
pub(crate) struct Indexes;

impl PlanExtension for Indexes {
    fn name(&self) -> &'static str {
        "vector_index"
    }

    fn physical_planner(&self) -> Option<Arc<dyn ExtensionPlanner + Send + Sync>> {
        Some(Arc::new(NodePlanner(node::plan)))
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
