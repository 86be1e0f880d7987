//! CREATE VIEW.

use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement as DFStatement;
use futures::FutureExt;

use crate::catalog::temporary::temporary_of;
use crate::catalog::view::{planned_within, without_view_name};
use crate::catalog::{Creation, TableState, check_column_names};
use crate::error::{Result, SqlState, sql_err};
use crate::session::Session;

/// `CREATE VIEW`.
pub(super) async fn create_view(session: &Session, statement: DFStatement) -> Result<()> {
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
    check_column_names(view.input.schema().as_arrow())?;
    check_lasts(&view.input)?;
    let at = catalog.resolve(&session.default_schema(), view.name)?;
    if view.or_replace {
        // Planned once more as the view it will be, to find a view that contains itself.
        let state = session.view_state()?;
        let engine = session.engine().clone();
        let access = session.access().clone();
        let view = at.clone();
        let planning = async move {
            let planning = engine.plan(&state, &access, without_view_name(statement));
            planned_within(view, planning).await
        };
        session.planning(planning.boxed()).await?;
    }
    let how = Creation {
        or_replace: view.or_replace,
        if_not_exists: false,
    };
    catalog.create(
        session.access(),
        &at,
        &TableState::View { statement: text },
        how,
    )?;
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
