//! CREATE VIEW.

use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement as DFStatement;
use futures::FutureExt;

use crate::catalog::file_relations::absolute_locations;
use crate::catalog::temporary::temporary_of;
use crate::catalog::view::{planned_within, without_view_name};
use crate::catalog::{TableState, check_column_names};
use crate::error::{Result, SqlState, sql_err};
use crate::session::Session;
use crate::storage::IfTaken;

/// `CREATE VIEW`.
pub(super) async fn create_view(session: &Session, mut statement: DFStatement) -> Result<()> {
    let catalog = session.engine().catalog();
    absolute_locations(session.engine().files(), &mut statement)?;
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
        // Plan the query again as part of this view, to detect a view that contains itself.
        let state = session.view_state()?;
        let engine = session.engine().clone();
        let access = session.access().clone();
        let view = at.clone();
        let planning = async move {
            let planning = engine.plan(&state, &access, without_view_name(statement));
            planned_within(view, planning).await
        };
        session.plan_within_limits(planning.boxed()).await?;
    }
    let if_taken = IfTaken::from_clauses(view.or_replace, false)?;
    catalog.create(
        session.access(),
        &at,
        &TableState::View { statement: text },
        if_taken,
    )?;
    Ok(())
}

/// Refuses a view that reads a temporary table, which ends with the session.
fn check_lasts(plan: &LogicalPlan) -> Result<()> {
    let Some(name) = temporary_of(plan)? else {
        return Ok(());
    };
    let message = format!(
        "\"{name}\" is a temporary table, and a view would outlive it; create the table without TEMPORARY"
    );
    Err(sql_err(SqlState::Unsupported, message))
}
