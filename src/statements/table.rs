//! CREATE TABLE, CREATE EXTERNAL TABLE, DROP TABLE and DROP VIEW.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Fields, Schema, SchemaRef};
use datafusion::common::{DataFusionError, TableReference};
use datafusion::logical_expr::{CreateMemoryTable, LogicalPlan};
use datafusion::sql::parser::CreateExternalTable;

use crate::access::grants::{Object, Privilege};
use crate::access::ownership::Ownership;
use crate::access::secrets::check_secrets;
use crate::catalog::external::open_external;
use crate::catalog::locations::absolute;
use crate::catalog::name::table_reference;
use crate::catalog::write::write_rows;
use crate::catalog::{TableState, check_column_names, should_create};
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::session::Session;
use crate::storage::IfTaken;

/// `CREATE TABLE`, with a query or with columns only.
pub(super) async fn create_table(session: &Session, table: CreateMemoryTable) -> Result<()> {
    if table.constraints.iter().next().is_some() || !table.column_defaults.is_empty() {
        let message = "constraints and defaults of columns are not supported; leave them out";
        return Err(sql_err(SqlState::Unsupported, message));
    }
    let catalog = session.engine().catalog();
    let at = catalog.resolve(&session.default_schema(), table.name)?;
    let if_taken = IfTaken::from_clauses(table.or_replace, table.if_not_exists)?;
    let tables = session.table_store(table.temporary);
    let schema = match table.input.as_ref() {
        // Columns only: each column declares whether it may be NULL.
        LogicalPlan::EmptyRelation(empty) => Arc::clone(empty.schema.inner()),
        // A query without NULLs does not promise that rows added later have no NULLs.
        query => nullable(query.schema().inner()),
    };
    check_column_names(&schema)?;
    let empty = TableState::Managed {
        schema: schema.as_ref().clone(),
        files: vec![],
        indexes: vec![],
    };
    // Check for an existing table before the query runs, which may take long.
    let current = tables.state(&at)?;
    if !should_create(if_taken, &at.1, current.as_ref(), &empty)? {
        return Ok(());
    }
    let stream = session.execute(Arc::unwrap_or_clone(table.input)).await?;
    let written = write_rows(catalog.data(), &schema, stream, tables.is_temporary()).await?;
    tables.create(&at, schema, written, if_taken)?;
    Ok(())
}

/// `CREATE EXTERNAL TABLE`. `text` is the statement as written.
pub(super) async fn create_external(
    session: &Session,
    table: CreateExternalTable,
    text: &str,
) -> Result<()> {
    if table.unbounded || table.temporary {
        return Err(sql_err(
            SqlState::Unsupported,
            "unbounded and temporary external tables are not supported",
        ));
    }
    check_secrets(table.options.iter().map(|(name, _)| name))?;
    let if_taken = IfTaken::from_clauses(table.or_replace, table.if_not_exists)?;
    let name = session
        .context()
        .state()
        .config_options()
        .sql_parser
        .enable_ident_normalization;
    let reference = table_reference(&table.name.to_string(), name);
    let catalog = session.engine().catalog();
    let at = catalog.resolve(&session.default_schema(), reference)?;
    // Check access before looking for the file: without access, a user must not learn whether the file exists.
    for location in &table.locations {
        session.engine().files().check_read(location)?;
    }
    let locations = table
        .locations
        .iter()
        .map(|location| absolute(location))
        .collect::<Result<Vec<_>>>()?;
    let state = TableState::External {
        statement: text.to_owned(),
        locations,
    };
    let current = catalog.state(&at.0, &at.1)?.1;
    if !should_create(if_taken, &at.1, current.as_ref(), &state)? {
        return Ok(());
    }
    // Open the table before publishing it, so that no unreadable table is created.
    open_external(session.engine(), &session.context().state(), &state).await?;
    catalog.create(session.access(), &at, &state, if_taken)?;
    Ok(())
}

/// `DROP TABLE` and `DROP VIEW`.
pub(super) fn drop_table(
    session: &Session,
    name: TableReference,
    kind: &str,
    if_exists: bool,
) -> Result<()> {
    let catalog = session.engine().catalog();
    let at = catalog.resolve(&session.default_schema(), name)?;
    match kind {
        "table" if session.temporary().remove(&at) => return Ok(()),
        "view" if session.temporary().has(&at) => return Err(is_other(&at.1, "table")),
        _ => {}
    }
    let access = session.access();
    let object = Object::table(&at.0, &at.1);
    loop {
        let seen = catalog.entry(&at.0, &at.1)?;
        let is_open = access.may(Privilege::Select, &object, &seen.ownership)?;
        let state = seen.state.as_ref().filter(|_| is_open);
        if state.is_some() {
            access.check_table(&at, &seen.ownership)?;
        }
        let (schema, name) = &at;
        match state {
            Some(state) if state.kind() == kind => {
                if catalog.commit(&at, &seen, TableState::Dropped, Ownership::default())? {
                    return session.engine().grants().forget(&object, &seen.ownership);
                }
            }
            Some(state) => {
                return Err(is_other(name, state.kind()));
            }
            None if if_exists => return Ok(()),
            None => {
                let known = catalog.open_names(access, schema, catalog.names(schema)?);
                let what = format!("{kind} \"{name}\" does not exist");
                let message = with_cause(what, name, known.iter().map(String::as_str));
                return Err(sql_err(SqlState::NoSuchTable, message));
            }
        }
    }
}

/// The error for a DROP that names another kind than the object has.
fn is_other(name: &str, found: &str) -> DataFusionError {
    let message = format!("\"{name}\" is a {found}; use DROP {}", found.to_uppercase());
    sql_err(SqlState::NoSuchTable, message)
}

fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields: Fields = fields
        .map(|field| Arc::new(field.as_ref().clone().with_nullable(true)))
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}
