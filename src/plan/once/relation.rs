//! The relation planner from a mark in SQL to [`MarkNode`]. A mark has a random name, so that no two marks are the same.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableFactor,
};

use super::node::MarkNode;
use crate::plan::table_function::planned_query;

const PREFIX: &str = "__once_";

/// A unique name for a mark of the WITH query `label`.
pub(super) fn mark_name(label: &str) -> ObjectName {
    let unique = uuid::Uuid::new_v4().simple();
    let name = Ident::with_quote('"', format!("{PREFIX}{unique}_{label}"));
    ObjectName::from(vec![name])
}

#[derive(Debug)]
pub(super) struct MarkRelation;

impl RelationPlanner for MarkRelation {
    fn plan_relation(
        &self,
        factor: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some((id, label)) = mark_of(&factor) else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        let TableFactor::Table {
            args: Some(args), ..
        } = &factor
        else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query)))) =
            args.args.first()
        else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        let input = planned_query(query.clone(), context)?;
        let plan = LogicalPlan::Extension(Extension {
            node: Arc::new(MarkNode::new(id, label, input)),
        });
        let planned = PlannedRelation::new(plan, None);
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}

/// The id of the mark and the name of its query, if the relation is a mark.
fn mark_of(factor: &TableFactor) -> Option<(String, String)> {
    let TableFactor::Table { name, .. } = factor else {
        return None;
    };
    let [part] = name.0.as_slice() else {
        return None;
    };
    let rest = part.as_ident()?.value.strip_prefix(PREFIX)?;
    let (id, label) = rest.split_once('_')?;
    uuid::Uuid::try_parse(id).ok()?;
    Some((id.to_owned(), label.to_owned()))
}
