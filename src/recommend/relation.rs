//! Relation planner of `recommend(model, users, …)`: plans a [`RecommendNode`].

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::planner::{
    RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::sql::sqlparser::ast::TableFactor;

use super::exclude::with_excluded;
use super::node::{RecommendNode, candidate_fields, sides};
use crate::error::{SqlState, sql_err};
use crate::model::{ResolvedModel, ResolvedModels};
use crate::plan::argument_values::whole;
use crate::plan::table_function::call;
use crate::sql::RECOMMEND;

/// The named arguments of `recommend`.
pub(crate) const ARGUMENTS: &[&str] = &["top_k", "exclude", "items"];
/// The items of each user if the call does not say.
const TOP_K_DEFAULT: usize = 10;
const TOP_K_MAX: i64 = 10_000;

#[derive(Debug)]
pub(super) struct RecommendRelation {
    pub(super) models: Arc<ResolvedModels>,
}

impl RelationPlanner for RecommendRelation {
    fn plan_relation(
        &self,
        factor: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(mut call) = call(&factor, &[RECOMMEND], &self.models, context)? else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        let mut top_k = TOP_K_DEFAULT;
        call.named(ARGUMENTS, |name, value| {
            top_k = whole(name, value, 1..=TOP_K_MAX)?;
            Ok(())
        })?;
        let (items, exclude) = (call.take_query("items"), call.take_query("exclude"));
        let users = call.required_input()?;
        let model = Arc::clone(&call.model);
        let sides = sides(&model)?;
        if items.is_none() && !sides.lists_items {
            return Err(needs_items(&model));
        }
        let (users, excluded_by) = match exclude {
            None => (users, None),
            Some(exclude) => {
                let candidates = items.as_ref().map(|items| items.schema().as_arrow());
                let candidates = candidate_fields(&model, candidates)?;
                let (users, item) = with_excluded(users, exclude, &candidates)?;
                (users, Some(item))
            }
        };
        let node = RecommendNode::try_new(model, users, items, top_k, excluded_by)?;
        let plan = LogicalPlan::Extension(Extension {
            node: Arc::new(node),
        });
        call.planned(plan)
    }
}

fn needs_items(model: &ResolvedModel) -> DataFusionError {
    let message = format!(
        "model \"{label}\" knows items by their columns only, so recommend needs the items: recommend(model, users, items => \
         (SELECT …))",
        label = model.label()
    );
    sql_err(SqlState::Syntax, message)
}
