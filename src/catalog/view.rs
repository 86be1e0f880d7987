//! Views: made from their text, and planned from it again wherever they are used.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use futures::FutureExt;

use super::name::unused_name;
use super::temporary::temporary_of;
use super::{Creation, TableState, check_names};
use crate::access::Access;
use crate::engine::Engine;
use crate::error::{Result, SqlState, sql_err};
use crate::session::Session;
use crate::sql::{Statement, parse};

tokio::task_local! {
    /// The views that are being planned, to find one that contains itself.
    static VIEWS: Vec<(String, String)>;
}

/// `CREATE VIEW`.
pub(crate) async fn create_view(session: &Session, statement: DFStatement) -> Result<()> {
    let catalog = session.engine().catalog();
    let text = statement.to_string();
    let plan = session.plan_view(statement.clone()).await?;
    let LogicalPlan::Ddl(DdlStatement::CreateView(view)) = plan else {
        return Err(sql_err(
            SqlState::Unsupported,
            "this form of CREATE VIEW is not supported",
        ));
    };
    if view.temporary {
        return Err(sql_err(
            SqlState::Unsupported,
            "temporary views are not supported",
        ));
    }
    check_names(view.input.schema().as_arrow())?;
    check_lasts(&view.input)?;
    let at = catalog.resolve(session, view.name)?;
    if view.or_replace {
        // Planned once more as the view it will be, to find a view that contains itself.
        let state = session.view_state()?;
        let engine = session.engine().clone();
        let access = session.access().clone();
        let scope = vec![at.clone()];
        let planning = async move {
            let planning = engine.plan(&state, &access, without_view_name(statement));
            VIEWS.scope(scope, planning).await
        };
        session.planning(planning.boxed()).await?;
    }
    let how = Creation {
        or_replace: view.or_replace,
        if_not_exists: false,
    };
    catalog.create(session, &at, &TableState::View { statement: text }, how)?;
    Ok(())
}

/// Refuses a view of a table that ends with the session.
fn check_lasts(plan: &LogicalPlan) -> Result<()> {
    let Some(name) = temporary_of(plan)? else {
        return Ok(());
    };
    let message = format!(
        "\"{name}\" is a temporary table, and a view would outlive it; make it without TEMPORARY"
    );
    Err(sql_err(SqlState::Unsupported, message))
}

fn without_view_name(mut statement: DFStatement) -> DFStatement {
    if let DFStatement::Statement(inner) = &mut statement
        && let SqlStatement::CreateView(view) = inner.as_mut()
    {
        view.name = unused_name();
    }
    statement
}

/// An error in the text of a view, which has no place in the statement that uses the view.
fn in_view(name: &str, error: &DataFusionError) -> DataFusionError {
    let mut found = crate::error::report(error);
    found.message = format!("in view \"{name}\": {}", found.message);
    found.position = None;
    DataFusionError::External(Box::new(found))
}

/// The view of this text, as somebody who has these rights reads it.
pub(crate) async fn open_view(
    engine: &Engine,
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
    let state = engine.session_as(access.clone())?.context().state();
    let plan = VIEWS
        .scope(
            stack,
            Box::pin(engine.plan(&state, &access, without_view_name(*parsed))),
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
