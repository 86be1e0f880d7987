//! WITH queries with random values or a LIMIT are computed once per statement if they are read more than once, as in
//! PostgreSQL. DataFusion copies the query to each reference, and each copy would draw its own values.
//!
//! ```text
//! WITH s AS (query) … s … s     mark: query ─▶ SELECT * FROM mark((query))
//!   plan ─ relation ─▶ MarkNode ─ keep_marks ─▶ MarkNode, if it is needed ─ ComputeOnce ─▶ OnceNode ─▶ OnceExec
//! ```
//! Until the statement is analysed, a marked query is like any other query, so that rights are checked and parameters are
//! filled in. Then it becomes a leaf that no rule looks into: no filter of one reader reaches the rows of the others. The
//! leaf is not sent to executors: on a cluster the engine's process collects its rows and runs all its readers. The query
//! itself may run on executors.
//!
//! * `mark` marks queries of a statement
//! * `relation` the planner from a mark in SQL to [`node::MarkNode`]
//! * `node` marks and leaves, and which marks are needed
//! * `exec` the operator that computes and shares the rows

mod exec;
mod mark;
mod node;
mod relation;

use std::sync::Arc;

use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::ExtensionPlanner;

pub(crate) use mark::mark_queries;
pub(crate) use node::{ComputeOnce, keep_marks};

use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModels;
use crate::plan::extension::PlanExtension;

/// The plan extension for WITH queries that are computed once.
#[derive(Debug)]
pub(crate) struct Once;

impl PlanExtension for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn relation_planner(&self, _models: &Arc<ResolvedModels>) -> Option<Arc<dyn RelationPlanner>> {
        Some(Arc::new(relation::MarkRelation))
    }

    /// A new planner for each plan, because only readers of the same plan share rows.
    fn physical_planner(&self) -> Option<Arc<dyn ExtensionPlanner + Send + Sync>> {
        Some(Arc::new(exec::OncePlanner::default()))
    }

    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
        exec.downcast_ref::<exec::OnceExec>()?;
        Some(Err(stays()))
    }

    fn decode_exec(
        &self,
        _bytes: &[u8],
        _inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(stays())
    }
}

fn stays() -> datafusion::common::DataFusionError {
    let message = "a WITH query that is computed once cannot be sent to another process";
    sql_err(SqlState::Unsupported, message)
}
