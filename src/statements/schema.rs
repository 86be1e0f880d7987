//! CREATE SCHEMA and DROP SCHEMA.

use datafusion::logical_expr::{CreateCatalogSchema, DropCatalogSchema};

use super::cache;
use crate::error::{Result, SqlState, sql_err};
use crate::session::Session;
use crate::storage::BUILT_IN_SCHEMAS;

/// `CREATE SCHEMA`.
pub(super) fn create_schema(session: &Session, create: &CreateCatalogSchema) -> Result<()> {
    let data = session.engine().data();
    session.access().check_all("CREATE SCHEMA")?;
    let name = create
        .schema_name
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_owned();
    let exists = data.schema_names()?.contains(&name) || BUILT_IN_SCHEMAS.contains(&name.as_str());
    match (exists, create.if_not_exists) {
        (true, true) => Ok(()),
        (true, false) => Err(sql_err(
            SqlState::TableExists,
            format!("schema \"{name}\" exists"),
        )),
        (false, _) => data.create_schema(&name),
    }
}

/// `DROP SCHEMA`.
pub(super) fn drop_schema(session: &Session, drop: &DropCatalogSchema) -> Result<()> {
    let name = drop.name.schema_name().to_owned();
    session.access().check_all("DROP SCHEMA")?;
    let temporary = session.temporary();
    let has_more = !temporary.names(&name).is_empty();
    let grants = session.engine().grants();
    let gone = grants.of_schema(&name)?;
    session
        .engine()
        .catalog()
        .drop_schema(&name, drop.if_exists, drop.cascade, has_more)?;
    temporary.remove_schema(&name);
    grants.forget_all(&gone)?;
    if let Err(error) = cache::forget_dropped(session.engine()) {
        // The schema is gone. The next LOAD MODEL or UNLOAD MODEL releases its models.
        tracing::warn!(schema = name, %error, "models of a dropped schema stay loaded");
    }
    Ok(())
}
