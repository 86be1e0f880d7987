//! The relation planner of `summarize`.

use datafusion::logical_expr::planner::{
    RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, TableFactor};

use super::figures::figures;
use crate::error::Result;
use crate::plan::table_function::{called, named_relation, planned_query, syntax_err};
use crate::sql::SUMMARIZE;

#[derive(Debug)]
pub(crate) struct SummarizeRelation;

impl RelationPlanner for SummarizeRelation {
    fn plan_relation(
        &self,
        factor: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some((function, args, alias)) = called(&factor, &[SUMMARIZE]) else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query)))] =
            args.args.as_slice()
        else {
            let found: Vec<String> = args.args.iter().map(ToString::to_string).collect();
            return Err(syntax_err(format!(
                "summarize takes a table or (query), found ({}); use SUMMARIZE t",
                found.join(", ")
            )));
        };
        let input = planned_query(query.clone(), context)?;
        named_relation(function, alias, figures(input)?)
    }
}
