//! Ingest: writes the rows that a client uploads into a new or an existing table.

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
use crate::catalog::{TableState, check_column_names};
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::plan::functions::STRICT;
use crate::session::Session;
use crate::storage::IfTaken;

/// The target of an ingest.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) table: TableReference,
    /// Whether to create the table if it does not exist.
    pub(crate) creates: bool,
    pub(crate) if_exists: IfExists,
    pub(crate) is_temporary: bool,
}

/// What to do with an existing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfExists {
    Fail,
    Append,
    Replace,
}

/// Writes all uploaded rows or none, and returns their number.
pub(crate) async fn ingest(
    session: &Session,
    ingest: Ingest,
    rows: SendableRecordBatchStream,
) -> Result<u64> {
    check_column_names(&rows.schema())?;
    let catalog = session.engine().catalog();
    let at = catalog.resolve(&session.default_schema(), ingest.table)?;
    // An existing temporary table hides a persistent table of the same name.
    let appends_there = ingest.if_exists == IfExists::Append && session.temporary().has(&at);
    let tables = session.table_store(ingest.is_temporary || appends_there);
    let current = tables.state(&at)?;
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
        let written = write_rows(catalog.data(), &schema, rows, tables.is_temporary()).await?;
        let count = written.rows();
        let if_taken = match ingest.if_exists {
            IfExists::Replace => IfTaken::Replace,
            IfExists::Fail | IfExists::Append => IfTaken::Fail,
        };
        tables.create(&at, schema, written, if_taken)?;
        return Ok(count);
    }
    let Some(TableState::Managed { schema, .. }) = current else {
        let message = format!(
            "\"{}\" is not a managed table; rows cannot be added to it",
            at.1
        );
        return Err(sql_err(SqlState::Unsupported, message));
    };
    let files = tables.files(&at)?;
    let schema = Arc::new(schema);
    let rows = matched(rows, &schema, &at.1)?;
    let written = write_rows(catalog.data(), &schema, rows, tables.is_temporary()).await?;
    let count = written.rows();
    files.append(&schema, written, false).await?;
    Ok(count)
}

/// The rows with the columns of the table, matched by name and cast; missing columns are NULL.
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
