//! Rows that a client sends, as a new table or at the end of one.

use std::sync::Arc;

use datafusion::arrow::array::new_null_array;
use datafusion::arrow::compute::{can_cast_types, cast_with_options};
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::TableReference;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use crate::catalog::write::write_rows;
use crate::catalog::{Creation, Insertion, TableState, check_column_names, insert};
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::plan::functions::STRICT;
use crate::session::Session;

/// Where rows that come from elsewhere go.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) table: TableReference,
    /// Whether a table is made if there is none.
    pub(crate) creates: bool,
    pub(crate) if_exists: IfExists,
    pub(crate) is_temporary: bool,
}

/// What becomes of a table that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfExists {
    Fail,
    Append,
    Replace,
}

/// Writes rows that come from elsewhere than a query, all or none, and returns how many they were.
pub(crate) async fn ingest(
    session: &Session,
    ingest: Ingest,
    rows: SendableRecordBatchStream,
) -> Result<u64> {
    check_column_names(&rows.schema())?;
    let catalog = session.engine().catalog();
    let at = catalog.resolve(&session.default_schema(), ingest.table)?;
    let tables = session.temporary();
    // One that is there hides others of its name.
    let appends_there = ingest.if_exists == IfExists::Append && tables.has(&at);
    let temporary = (ingest.is_temporary || appends_there).then_some(tables);
    let seen = catalog.entry(&at.0, &at.1)?;
    let current = match temporary {
        Some(tables) => tables.state(&at),
        None => seen.state,
    };
    let is_new = match (&current, ingest.if_exists, ingest.creates) {
        (Some(current), IfExists::Fail, _) => {
            let message = format!("{} \"{}\" exists", current.kind(), at.1);
            return Err(sql_err(SqlState::TableExists, message));
        }
        (None, _, false) => {
            let message = format!("table \"{}\" does not exist", at.1);
            return Err(sql_err(SqlState::NoSuchTable, message));
        }
        (Some(_), IfExists::Append, _) => false,
        (Some(_), IfExists::Replace, _) | (None, _, true) => true,
    };
    if is_new {
        let schema = rows.schema();
        let written = write_rows(catalog.data(), &schema, rows, temporary.is_some()).await?;
        let count = written.rows();
        let how = Creation {
            or_replace: ingest.if_exists == IfExists::Replace,
            if_not_exists: false,
        };
        if let Some(tables) = temporary {
            tables.create(&at, schema, written, how)?;
            return Ok(count);
        }
        let state = TableState::Managed {
            schema: schema.as_ref().clone(),
            files: written.files.clone(),
        };
        written.keep();
        catalog.create(session.access(), &at, &state, how)?;
        return Ok(count);
    }
    let Some(TableState::Managed { schema, .. }) = current else {
        let message = format!(
            "\"{}\" is no managed table; rows cannot be added to it",
            at.1
        );
        return Err(sql_err(SqlState::Unsupported, message));
    };
    if temporary.is_none() {
        let access = session.access();
        access.check_table(&at, &seen.ownership)?;
    }
    let schema = Arc::new(schema);
    let rows = matched(rows, &schema, &at.1)?;
    let written = write_rows(catalog.data(), &schema, rows, temporary.is_some()).await?;
    if let Some(tables) = temporary {
        let count = written.rows();
        tables.insert(&at, &schema, written, false)?;
        return Ok(count);
    }
    written.keep();
    let insertion = Insertion {
        at: &at,
        id: seen.ownership.id.as_deref(),
        schema: &schema,
        files: &written.files,
        overwrite: false,
    };
    insert(catalog, &insertion)?;
    Ok(written.rows())
}

/// Rows with the columns of a table, found by name; columns that are not there are NULL.
fn matched(
    rows: SendableRecordBatchStream,
    table: &SchemaRef,
    name: &str,
) -> Result<SendableRecordBatchStream> {
    let given = rows.schema();
    for field in given.fields() {
        let Ok(wanted) = table.field_with_name(field.name()) else {
            let known = table.fields().iter().map(|field| field.name().as_str());
            let what = format!("table \"{name}\" has no column \"{}\"", field.name());
            let message = with_cause(what, field.name(), known);
            return Err(sql_err(SqlState::MissingColumn, message));
        };
        if !can_cast_types(field.data_type(), wanted.data_type()) {
            let message = format!(
                "column \"{}\" of table \"{name}\" is {}, the rows have {}",
                field.name(),
                wanted.data_type(),
                field.data_type()
            );
            return Err(sql_err(SqlState::TypeMismatch, message));
        }
    }
    let schema = Arc::clone(table);
    let rows = rows.map(move |batch| {
        let batch = batch?;
        let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
            Some(column) => cast_with_options(column, field.data_type(), &STRICT),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        };
        let columns = schema
            .fields()
            .iter()
            .map(column)
            .collect::<Result<_, _>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(
        Arc::clone(table),
        rows,
    )))
}
