//! A WITH query that is left to chance and read more than once is computed once a statement, as in PostgreSQL:
//! DataFusion puts a copy of it wherever it is named, and each copy would draw for itself.
//!
//! ```text
//! WITH s AS (query) … s … s     mark: query ─▶ SELECT * FROM mark((query))
//!   plan ─ relation ─▶ MarkNode ─ keep_marks ─▶ MarkNode, if it is needed ─ ComputeOnce ─▶ OnceNode ─▶ OnceExec
//! ```
//! Until the statement is analysed a marked query is like any other, so that rights are checked and parameters put into
//! it. Then it becomes a leaf, which no rule looks into: no filter of one reader reaches the rows of the others. It does
//! not travel: on a cluster its rows are collected in the engine's process, where whatever reads them runs too. The query
//! itself may run on executors.
//!
//! * `mark` which queries of a statement are marked
//! * `relation` a mark in SQL → [`node::MarkNode`]
//! * `node` marks and leaves, and which marks are needed
//! * `exec` the rows, and who computes them

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

/// WITH queries that are computed once.
#[derive(Debug)]
pub(crate) struct Once;

impl PlanExtension for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn relation_planner(&self, _models: &Arc<ResolvedModels>) -> Option<Arc<dyn RelationPlanner>> {
        Some(Arc::new(relation::MarkRelation))
    }

    /// A planner for each plan: what it hands out is shared by the readers of that plan only.
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
        _input: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(stays())
    }
}

fn stays() -> datafusion::common::DataFusionError {
    let message = "rows that several parts of a statement share stay in one process";
    sql_err(SqlState::Unsupported, message)
}
