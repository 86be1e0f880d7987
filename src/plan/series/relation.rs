//! The relation planner of `windows`.

use datafusion::logical_expr::planner::{
    RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::TableFactor;

use super::arguments::{Arguments, input};
use super::columns::Columns;
use super::rows::rows;
use crate::error::Result;
use crate::plan::table_function::named_relation;
use crate::sql::{WINDOWS, relation_function};

#[derive(Debug)]
pub(crate) struct WindowsRelation;

impl RelationPlanner for WindowsRelation {
    fn plan_relation(
        &self,
        factor: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let TableFactor::Table {
            name,
            args: Some(args),
            alias,
            ..
        } = &factor
        else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        if relation_function(name) != Some(WINDOWS) {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        }
        let query = input(args)?;
        let arguments = Arguments::parse(args, context)?;
        let input = context.plan(TableFactor::Derived {
            lateral: false,
            subquery: query,
            alias: None,
            sample: None,
        })?;
        let columns = Columns::try_new(&arguments, input.schema())?;
        let plan = rows(input, &columns, &arguments)?;
        named_relation(WINDOWS, alias.clone(), plan)
    }
}
