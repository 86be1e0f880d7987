//! [`Prepared`]: a planned statement whose parameter values come from uploads.

use std::sync::{Arc, Mutex};

use arrow_flight::error::FlightError;
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::{can_cast_types, cast_with_options, concat_batches};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{DataFusionError, ScalarValue};
use futures::StreamExt;
use tonic::Status;

use super::lock::lock;
use super::status::status;
use super::upload::{Upload, from_flight};
use super::wire::wire_type;
use super::work::Work;
use crate::error::{Result, SqlState, sql_err};
use crate::plan::functions::STRICT;
use crate::session::describe::Description;
use crate::sql::Parameters;

/// The maximum number of bound rows of one statement.
const BOUND_ROWS_MAX: usize = 1_000_000;

/// A prepared statement.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) parameters: Parameters,
    pub(super) description: Description,
    /// The latest bound rows of values.
    bound: Mutex<Option<RecordBatch>>,
}

impl Prepared {
    /// Creates a prepared statement from its text and the result of its planning.
    pub(super) fn new(parameters: Parameters, description: Description) -> Self {
        Self {
            parameters,
            description,
            bound: Mutex::default(),
        }
    }

    pub(super) fn bind(&self, values: RecordBatch) {
        *lock(&self.bound) = Some(values);
    }

    pub(super) fn bound(&self) -> Option<RecordBatch> {
        lock(&self.bound).clone()
    }
}

/// The schema of the parameters as reported to clients. JDBC sends times in milliseconds regardless of the requested
/// type, and cannot send a value without a type.
pub(super) fn parameter_schema(prepared: &Prepared) -> Schema {
    let types = prepared.description.parameters.iter();
    let fields = types.zip(prepared.parameters.names()).map(|(known, name)| {
        let data_type = match known.as_ref().map(wire_type) {
            Some(DataType::Timestamp(_, zone)) => DataType::Timestamp(TimeUnit::Millisecond, zone),
            Some(DataType::Time32(_) | DataType::Time64(_)) => {
                DataType::Time32(TimeUnit::Millisecond)
            }
            Some(DataType::Null) | None => DataType::Utf8,
            Some(data_type) => data_type,
        };
        Field::new(name, data_type, true)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// The values of all rows of an upload: one column per parameter, of the parameter's type if that is known.
pub(super) async fn values(prepared: &Prepared, upload: Upload) -> Result<RecordBatch, Status> {
    let read = async {
        let Some(mut rows) = upload
            .rows()
            .await
            .map_err(|error| from_flight(&FlightError::Tonic(Box::new(error))))?
        else {
            return Ok(RecordBatch::new_empty(Arc::new(Schema::empty())));
        };
        let (mut batches, mut count) = (Vec::new(), 0);
        while let Some(batch) = rows.next().await.transpose()? {
            count += batch.num_rows();
            if count > BOUND_ROWS_MAX {
                let message = format!("over {BOUND_ROWS_MAX} rows of parameters; use bulk ingest");
                return Err(sql_err(SqlState::TooMany, message));
            }
            batches.push(batch);
        }
        let given = concat_batches(&rows.schema(), &batches)?;
        if given.num_columns() == 0 && prepared.parameters.names().is_empty() {
            return Ok(given);
        }
        typed(prepared, &given)
    };
    read.await.map_err(|error: DataFusionError| status(&error))
}

fn typed(prepared: &Prepared, given: &RecordBatch) -> Result<RecordBatch> {
    let names = prepared.parameters.names();
    prepared.parameters.check_count(given.num_columns())?;
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (index, (name, known)) in names
        .iter()
        .zip(&prepared.description.parameters)
        .enumerate()
    {
        // Numbered parameters are matched by position: clients choose their own column names.
        let by_name = given
            .column_by_name(name.trim_start_matches('$'))
            .filter(|_| !name[1..].starts_with(|c: char| c.is_ascii_digit()));
        let column = by_name.unwrap_or_else(|| given.column(index));
        let column = match known.as_ref().map(wire_type) {
            Some(known) if known != *column.data_type() => convert(column, &known, name)?,
            _ => Arc::clone(column),
        };
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(given.num_rows()));
    let schema = Arc::new(Schema::new(fields));
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

fn convert(column: &ArrayRef, data_type: &DataType, name: &str) -> Result<ArrayRef> {
    cast_with_options(column, data_type, &STRICT).map_err(|error| {
        let message = format!(
            "parameter {name} is {data_type}, and {} was bound: {error}",
            column.data_type()
        );
        // A single value cannot be cast, or no value of the type can.
        let state = match can_cast_types(column.data_type(), data_type) {
            true => SqlState::InvalidCast,
            false => SqlState::TypeMismatch,
        };
        sql_err(state, message)
    })
}

/// The work of a prepared statement with its values.
pub(super) fn work(prepared: &Prepared, values: Option<RecordBatch>) -> Result<Work, Status> {
    let bound = |parameters: &Parameters, rows: &RecordBatch| {
        (0..rows.num_rows())
            .map(|row| {
                let columns = rows.columns().iter();
                let values = columns
                    .map(|column| ScalarValue::try_from_array(column, row))
                    .collect::<Result<Vec<_>>>()?;
                parameters.bind(&values)
            })
            .collect::<Result<Vec<_>>>()
    };
    let parameters = &prepared.parameters;
    let work = match values {
        Some(rows) if rows.num_columns() > 0 => {
            // Several rows become a single write instead of one write each.
            if rows.num_rows() > 1 && parameters.insert_select("t").is_some() {
                let parameters = parameters.clone();
                return Ok(Work::Rows { parameters, rows });
            }
            bound(parameters, &rows).map(Work::Bound)
        }
        _ => parameters
            .check_count(0)
            .map(|()| Work::Text(parameters.text().to_owned())),
    };
    work.map_err(|error| status(&error))
}
