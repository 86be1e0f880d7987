//! The relation planner of `windows`.

use datafusion::logical_expr::planner::{
    RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::TableFactor;

use super::arguments::{Arguments, input};
use super::columns::Columns;
use super::rows::rows;
use crate::error::Result;
use crate::plan::table_function::{called, named_relation, planned_query};
use crate::sql::WINDOWS;

#[derive(Debug)]
pub(crate) struct WindowsRelation;

impl RelationPlanner for WindowsRelation {
    fn plan_relation(
        &self,
        factor: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some((function, args, alias)) = called(&factor, &[WINDOWS]) else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        let query = input(args)?;
        let arguments = Arguments::parse(args, context)?;
        let input = planned_query(query, context)?;
        let columns = Columns::try_new(&arguments, input.schema())?;
        let plan = rows(input, &columns, &arguments)?;
        named_relation(function, alias, plan)
    }
}
