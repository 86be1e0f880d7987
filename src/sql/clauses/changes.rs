//! UPDATE and DELETE: the names of assigned columns, and clauses that the planner would ignore.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, Delete, FromTable, ObjectNamePart, TableFactor, Update,
};

use super::refusal::{Found, refuse};
use crate::error::{Result, SqlState, sql_err};
use crate::sql::statement::folded;

/// Gives the assigned columns the names that they have in the table: the planner does not fold upper case.
///
/// # Errors
/// If a column is assigned twice, or has another name before its own, which the planner would not read.
pub(super) fn name_columns(update: &mut Update, folds: bool) -> Result<()> {
    let mut assigned = HashSet::new();
    for assignment in &mut update.assignments {
        let AssignmentTarget::ColumnName(target) = &mut assignment.target else {
            // The planner refuses lists of columns.
            continue;
        };
        let [ObjectNamePart::Identifier(column)] = target.0.as_mut_slice() else {
            let message = format!("UPDATE sets {target}; write the name of the column alone");
            return Err(sql_err(SqlState::Unsupported, message));
        };
        if folds {
            column.value = folded(column);
        }
        if !assigned.insert(column.value.clone()) {
            let message = format!("UPDATE sets column \"{}\" twice", column.value);
            return Err(sql_err(SqlState::DuplicateName, message));
        }
    }
    Ok(())
}

pub(super) fn check_delete(delete: &Delete) -> Found {
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    from.iter().try_for_each(|table| match &table.relation {
        TableFactor::Table {
            alias,
            args,
            sample,
            // `from` checks the other clauses.
            ..
        } => {
            refuse(alias.is_some(), "another name of the table of DELETE")?;
            refuse(args.is_some(), "a function after DELETE FROM")?;
            refuse(sample.is_some(), "TABLESAMPLE of DELETE")
        }
        // The planner refuses other relations.
        _ => Ok(()),
    })
}
