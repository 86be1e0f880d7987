//! What clients upload: values for parameters, and rows of tables.

use std::sync::Arc;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use arrow_flight::{FlightData, FlightDescriptor};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::{CastOptions, can_cast_types, cast_with_options, concat_batches};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::arrow::ipc::{BodyCompressionMethod, root_as_message};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::util::display::FormatOptions;
use datafusion::common::{DataFusionError, ScalarValue, TableReference};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use tonic::{Status, Streaming};

use super::output::{wire_batch, wire_schema, wire_type};
use super::service::Server;
use super::sessions::Client;
use super::statements::{Prepared, Work};
use super::status::{failed, status};
use crate::error::{Result, SqlState, sql_err};
use crate::ingest::{IfExists, Ingest, ingest};
use crate::sql::Parameters;

/// What one buffer of a message may become when it is decompressed.
const BUFFER_BYTES_MAX: i64 = 1 << 30;
/// Rows of values for one statement.
const BOUND_ROWS_MAX: usize = 1_000_000;

/// An upload whose first message was looked at.
pub(super) struct Upload {
    pub(super) descriptor: FlightDescriptor,
    first: FlightData,
    rest: Streaming<FlightData>,
}

impl Upload {
    /// Waits for the first message, which says what the upload is for.
    pub(super) async fn begin(mut stream: Streaming<FlightData>) -> Result<Self, Status> {
        let first = stream.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("the upload has no messages"))?;
        let descriptor = first.flight_descriptor.clone();
        let descriptor = descriptor.ok_or_else(|| {
            Status::invalid_argument("the first message of the upload has no descriptor")
        })?;
        Ok(Self {
            descriptor,
            first,
            rest: stream,
        })
    }

    /// The batches, with the types that clients get as well. Some clients send no schema if they have no rows.
    pub(super) async fn rows(self) -> Result<Option<SendableRecordBatchStream>, Status> {
        if self.first.data_header.is_empty() {
            return Ok(None);
        }
        let messages = futures::stream::iter([Ok(self.first)]).chain(self.rest);
        let messages = messages.map(|message| {
            let checked = message.and_then(|message| check(&message).map(|()| message));
            checked.map_err(|status| FlightError::Tonic(Box::new(status)))
        });
        let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
        let first = batches.next().await.transpose()?;
        let Some(given) = batches.schema().cloned() else {
            return Err(Status::invalid_argument("the upload has no schema"));
        };
        let schema = wire_schema(&given);
        let wire = Arc::clone(&schema);
        let batches = futures::stream::iter(first.map(Ok))
            .chain(batches)
            .map_err(|error| from_flight(&error))
            .map(move |batch| wire_batch(&batch?, &wire));
        Ok(Some(Box::pin(RecordBatchStreamAdapter::new(
            schema, batches,
        ))))
    }
}

fn from_flight(error: &FlightError) -> DataFusionError {
    match error {
        FlightError::Tonic(status) => sql_err(SqlState::Data, status.message()),
        error => sql_err(SqlState::Data, format!("the rows cannot be read: {error}")),
    }
}

/// Refuses a message that would ask for more memory than there is: the decoder believes the lengths that stand in it.
fn check(message: &FlightData) -> Result<(), Status> {
    let broken = || Status::invalid_argument("a message of the upload cannot be read");
    if message.data_header.is_empty() {
        return Ok(());
    }
    let header = root_as_message(&message.data_header).map_err(|_| broken())?;
    let batch = header.header_as_record_batch().or_else(|| {
        let dictionary = header.header_as_dictionary_batch();
        dictionary.and_then(|dictionary| dictionary.data())
    });
    let Some(batch) = batch else { return Ok(()) };
    let is_compressed = batch
        .compression()
        .is_some_and(|compression| compression.method() == BodyCompressionMethod::BUFFER);
    for buffer in batch.buffers().into_iter().flatten() {
        let start = usize::try_from(buffer.offset()).map_err(|_| broken())?;
        let length = usize::try_from(buffer.length()).map_err(|_| broken())?;
        let end = start.checked_add(length).ok_or_else(broken)?;
        let bytes = message.data_body.get(start..end).ok_or_else(broken)?;
        let claimed = bytes
            .first_chunk::<8>()
            .map(|bytes| i64::from_le_bytes(*bytes));
        if is_compressed && claimed.is_some_and(|claimed| claimed > BUFFER_BYTES_MAX) {
            return Err(broken());
        }
    }
    let nodes = batch.nodes().into_iter().flatten();
    let mut lengths = nodes.map(|node| node.length()).chain([batch.length()]);
    match lengths.any(|length| !(0..=i64::from(i32::MAX)).contains(&length)) {
        true => Err(broken()),
        false => Ok(()),
    }
}

/// The types that a prepared statement asks its client for. JDBC sends times in milliseconds whatever is asked for, and
/// cannot send a value without a type.
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

/// The values of all rows of an upload: a column for each parameter, of its type if that is known.
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
                let message = format!("over {BOUND_ROWS_MAX} rows of values; use bulk ingest");
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
        // Numbered ones by position: clients name their columns as they like.
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
    let options = CastOptions {
        safe: false,
        format_options: FormatOptions::new(),
    };
    cast_with_options(column, data_type, &options).map_err(|error| {
        let message = format!(
            "parameter {name} is {data_type}, and {} was bound: {error}",
            column.data_type()
        );
        // A value, or all of them.
        let state = match can_cast_types(column.data_type(), data_type) {
            true => SqlState::InvalidCast,
            false => SqlState::TypeMismatch,
        };
        sql_err(state, message)
    })
}

/// The statement, or the statements, that a prepared one and its values make.
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
            // Of many rows one write is made and not one each.
            if rows.num_rows() > 1 && parameters.insert_select("t").is_some() {
                let parameters = parameters.clone();
                return Ok(Work::Rows { parameters, rows });
            }
            bound(parameters, &rows).map(Work::Bound)
        }
        _ => parameters
            .check_count(0)
            .map(|()| Work::Texts(vec![parameters.text().to_owned()])),
    };
    work.map_err(|error| status(&error))
}

/// Writes the rows of an upload to a table.
pub(super) async fn ingest_upload(
    server: &Server,
    client: &Client,
    command: CommandStatementIngest,
    upload: Upload,
) -> Result<u64, Status> {
    if command.temporary {
        let message = "temporary tables are not supported; ingest into a table and drop it";
        return Err(failed(SqlState::Unsupported, message));
    }
    let _slot = server.slot().await?;
    let options = command.table_definition_options.unwrap_or_default();
    let creates = match options.if_not_exist() {
        TableNotExistOption::Fail => false,
        TableNotExistOption::Create | TableNotExistOption::Unspecified => true,
    };
    let if_exists = match options.if_exists() {
        TableExistsOption::Append => IfExists::Append,
        TableExistsOption::Replace => IfExists::Replace,
        TableExistsOption::Fail | TableExistsOption::Unspecified => IfExists::Fail,
    };
    let schema = command
        .schema
        .unwrap_or_else(|| client.session.default_schema());
    let table = match command.catalog {
        Some(catalog) => TableReference::full(catalog, schema, command.table),
        None => TableReference::partial(schema, command.table),
    };
    let rows = upload.rows().await?;
    let rows = rows.ok_or_else(|| Status::invalid_argument("the upload has no schema"))?;
    let ingesting = Ingest {
        table,
        creates,
        if_exists,
    };
    let session = client.session.clone();
    let written = ingest(&session, ingesting, rows).await;
    written.map_err(|error| status(&error))
}
