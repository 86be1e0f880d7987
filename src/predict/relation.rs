//! Relation planner of `predict(model, input, …)`: plans a [`PredictNode`].

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::planner::{
    RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::sql::sqlparser::ast::TableFactor;

use super::arguments::{finished, take};
use super::call_task::with_task;
use super::node::PredictNode;
use super::options::PredictOptions;
use crate::model::ResolvedModels;
use crate::plan::table_function::{Call, call};

/// The named arguments of `predict`.
const ARGUMENTS: &[&str] = &[
    "batch_size",
    "max_batch_tokens",
    "threshold",
    "top_k",
    "on_error",
    "on_null",
    "dedupe",
    "truncate",
    "prompt",
    "device",
    "dtype",
    "labels",
    "hypothesis",
    "multi_label",
    "aggregation",
];

#[derive(Debug)]
pub(super) struct PredictRelation {
    pub(super) models: Arc<ResolvedModels>,
}

impl RelationPlanner for PredictRelation {
    fn plan_relation(
        &self,
        factor: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(mut call) = call(&factor, &["predict"], &self.models, context)? else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        let input = call.required_input()?;
        call.model = with_task(&call, ARGUMENTS)?;
        let options = options(&call)?;
        let node = PredictNode::try_new(Arc::clone(&call.model), input, options)?;
        let plan = LogicalPlan::Extension(Extension {
            node: Arc::new(node),
        });
        call.planned(plan)
    }
}

fn options(call: &Call) -> Result<PredictOptions> {
    let mut options = PredictOptions::default();
    call.named(ARGUMENTS, |name, value| {
        take(&mut options, &call.model, name, value)
    })?;
    finished(options, &call.model)
}
