//! Views: planned from their text at each use.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;

use super::name::unused_name;
use super::planner::OwnerPlanner;
use crate::access::Access;
use crate::error::{Result, SqlState, sql_err};
use crate::sql::{Statement, parse};

tokio::task_local! {
    /// The views being planned, to detect a view that contains itself.
    static VIEWS: Vec<(String, String)>;
}

/// Plans the definition of a view, to detect whether the view contains itself.
pub(crate) async fn planned_within<T>(
    view: (String, String),
    planning: impl Future<Output = T>,
) -> T {
    VIEWS.scope(vec![view], planning).await
}

/// The statement of a view without its name, which can be planned while a view of that name exists.
pub(crate) fn without_view_name(mut statement: DFStatement) -> DFStatement {
    if let DFStatement::Statement(inner) = &mut statement
        && let SqlStatement::CreateView(view) = inner.as_mut()
    {
        view.name = unused_name();
    }
    statement
}

/// An error in the text of a view. Its position is dropped, as it refers to the view's text.
fn in_view(name: &str, error: &DataFusionError) -> DataFusionError {
    let mut found = crate::error::report(error);
    found.message = format!("in view \"{name}\": {}", found.message);
    found.position = None;
    DataFusionError::External(Box::new(found))
}

/// Opens the view with this text, read with this access.
pub(crate) async fn open_view(
    planner: &dyn OwnerPlanner,
    access: Access,
    at: (String, String),
    statement: &str,
) -> Result<Arc<dyn TableProvider>> {
    let mut stack = VIEWS.try_with(Clone::clone).unwrap_or_default();
    if stack.contains(&at) {
        let message = format!("view \"{}\" contains itself", at.1);
        return Err(sql_err(SqlState::Plan, message));
    }
    stack.push(at.clone());
    let broken = || {
        sql_err(
            SqlState::Internal,
            format!("the text of view \"{}\" cannot be read", at.1),
        )
    };
    let Some(Statement::DataFusion(parsed)) = parse(statement)? else {
        return Err(broken());
    };
    let state = planner.state(&access)?;
    let plan = VIEWS
        .scope(
            stack,
            planner.plan(&state, &access, without_view_name(*parsed)),
        )
        .await
        .map_err(|error| in_view(&at.1, &error))?;
    let LogicalPlan::Ddl(DdlStatement::CreateView(view)) = plan else {
        return Err(broken());
    };
    Ok(Arc::new(ViewTable::new(
        Arc::unwrap_or_clone(view.input),
        Some(statement.to_owned()),
    )))
}
