//! Checks and rewrites of a parsed statement before DataFusion's planner, and unique names for selected columns.

use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{CopyToSource, Statement as DFStatement};
use datafusion::sql::sqlparser::ast::{Visit, VisitMut};

use super::chance::check_aliases;
use super::keys::with_frames;
use super::once::mark_queries;
use crate::error::Result;
use crate::sql::clauses::check_clauses;
use crate::sql::selected_names::{
    Reach, check_selected_names, columns, is_name_taken, makes_relation, with_unique_names, words,
};

/// Refuses clauses that the planner would drop or draw twice, adds window frames and marks WITH queries.
pub(crate) fn prepare(statement: &mut DFStatement, state: &SessionState) -> Result<()> {
    match statement {
        DFStatement::Statement(statement) => prepare_part(statement.as_mut(), state),
        DFStatement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => prepare_part(query.as_mut(), state),
            CopyToSource::Relation(_) => Ok(()),
        },
        DFStatement::Explain(explain) => prepare(&mut explain.statement, state),
        DFStatement::CreateExternalTable(_) | DFStatement::Reset(_) => Ok(()),
    }
}

fn prepare_part(part: &mut (impl Visit + VisitMut), state: &SessionState) -> Result<()> {
    check_clauses(part, state)?;
    check_aliases(part, state)?;
    with_frames(part);
    mark_queries(part);
    Ok(())
}

/// Plans a statement. If a list selects two columns of one name, the columns get unique names.
pub(crate) async fn plan_with_names(
    state: &SessionState,
    statement: DFStatement,
) -> Result<LogicalPlan> {
    let planned = Box::pin(state.statement_to_plan(statement.clone())).await;
    let Some(error) = planned.as_ref().err().filter(|error| is_name_taken(error)) else {
        return planned;
    };
    tracing::debug!(%error, "a column name is not unique");
    let columns = columns(state, &statement).await;
    let mut mentioned = words(&statement);
    mentioned.extend(columns.iter().cloned());
    // Generated names avoid all words of the statement, which keep their meaning; if that fails, only its columns.
    for taken in [&mentioned, &columns] {
        for reach in [Reach::Written, Reach::BesideStar] {
            if let Some(renamed) = with_unique_names(statement.clone(), reach, taken)
                && let Ok(plan) = Box::pin(state.statement_to_plan(renamed)).await
            {
                return Ok(plan);
            }
        }
    }
    if makes_relation(&statement) {
        check_selected_names(&statement)?;
    }
    planned
}
