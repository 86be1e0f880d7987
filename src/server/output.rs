//! One adapter for every reply: schemas and batches with the types that all clients read.
//!
//! Views, dictionaries and run ends become plain arrays, half floats become floats, large lists lists, intervals those of months, days and nanoseconds, small decimals Decimal128: JDBC, or
//! JavaScript, has no reader for them. All columns may be NULL: what an optimizer finds out about NULLs must not make the
//! schema of a stream another one than the schema that was promised.

use std::sync::Arc;

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef,
};
use datafusion::arrow::ipc::CompressionType;
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt, TryStreamExt};
use prost::bytes::Bytes;
use tonic::Status;

use super::metadata::type_facts;
use super::status::{failed, status};
use crate::error::SqlState;

/// Rows go out in messages of about this size; those of one row can be larger.
const MESSAGE_BYTES: usize = 2 << 20;
/// What clients of Go, Python among them, take unless they are told otherwise.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// How the rows of results go out.
#[derive(Debug, Clone, Copy)]
pub(super) struct WireOptions {
    pub(super) message_bytes_max: usize,
    /// Nothing unless a client asks for it: JDBC cannot read it.
    pub(super) compression: Option<CompressionType>,
}

impl Default for WireOptions {
    fn default() -> Self {
        Self {
            // Clients count what is around the rows as well.
            message_bytes_max: MESSAGE_BYTES_MAX - (64 << 10),
            compression: None,
        }
    }
}

/// What a compression is called in session options.
pub(super) const COMPRESSIONS: [(&str, Option<CompressionType>); 3] = [
    ("none", None),
    ("lz4", Some(CompressionType::LZ4_FRAME)),
    ("zstd", Some(CompressionType::ZSTD)),
];

/// A schema as clients get it.
pub(super) fn wire_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields: Fields = fields
        .map(|field| {
            let data_type = wire_type(field.data_type());
            let field =
                Field::new(field.name(), data_type, true).with_metadata(field.metadata().clone());
            Arc::new(field)
        })
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The schema of a result, with what JDBC shows of its types.
pub(super) fn result_schema(schema: &Schema) -> SchemaRef {
    let wire = wire_schema(schema);
    let fields = wire.fields().iter().map(|field| {
        let mut metadata = field.metadata().clone();
        metadata.extend(type_facts(field.data_type()));
        field.as_ref().clone().with_metadata(metadata)
    });
    let fields: Vec<Field> = fields.collect();
    Arc::new(Schema::new_with_metadata(fields, wire.metadata().clone()))
}

/// A type as clients get it.
pub(super) fn wire_type(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| -> FieldRef {
        Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(wire_type(field.data_type())),
        )
    };
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, value) => wire_type(value),
        DataType::RunEndEncoded(_, values) => wire_type(values.data_type()),
        // arrow-flight's encoder makes lists of large ones.
        DataType::List(field)
        | DataType::ListView(field)
        | DataType::LargeList(field)
        | DataType::LargeListView(field) => DataType::List(inner(field)),
        DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(inner(field), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::Map(entries, is_sorted) => DataType::Map(inner(entries), *is_sorted),
        other => other.clone(),
    }
}

/// A batch with the columns of `schema`, which is the wire's of the batch's.
pub(super) fn wire_batch(
    batch: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, DataFusionError> {
    let adapt =
        |(column, field): (&ArrayRef, &FieldRef)| match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => cast(column, field.data_type()),
        };
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(adapt).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// Batches as messages; the schema comes first, also if there are no rows.
pub(super) fn encoded(
    schema: SchemaRef,
    rows: SendableRecordBatchStream,
    options: WireOptions,
) -> Result<impl Stream<Item = Result<FlightData, Status>> + Send, Status> {
    let WireOptions {
        message_bytes_max,
        compression,
    } = options;
    let options = IpcWriteOptions::default()
        .try_with_compression(compression)
        .map_err(|error| status(&error.into()))?;
    let wire = Arc::clone(&schema);
    let batches = rows.map(move |batch| {
        let batch = batch.and_then(|batch| wire_batch(&batch, &wire));
        batch.map_err(|error| FlightError::Tonic(Box::new(status(&error))))
    });
    let messages = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_options(options)
        .with_max_flight_data_size(MESSAGE_BYTES)
        .build(batches)
        .map_err(Status::from)
        .and_then(move |message| {
            let bytes = message.data_body.len() + message.data_header.len();
            std::future::ready(match bytes <= message_bytes_max {
                true => Ok(message),
                false => Err(too_large(bytes, message_bytes_max)),
            })
        });
    Ok(messages)
}

fn too_large(bytes: usize, max: usize) -> Status {
    let message = format!(
        "a row of the result has {bytes} bytes, {max} are sent; select less of it, or raise the session option \
         max_message_bytes together with the limit of the client, which for ADBC is \
         adbc.flight.sql.client_option.with_max_msg_size"
    );
    failed(SqlState::OutOfMemory, message)
}

/// One batch as messages.
pub(super) fn one_batch(
    batch: RecordBatch,
) -> impl Stream<Item = Result<FlightData, Status>> + Send {
    FlightDataEncoderBuilder::new()
        .with_schema(batch.schema())
        .build(futures::stream::once(async { Ok(batch) }))
        .map_err(Status::from)
}

/// A schema as the bytes in which messages hold it.
pub(super) fn schema_bytes(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(schema, &options).try_into();
    match message {
        Ok(message) => Ok(message.0),
        Err(error) => Err(status(&error.into())),
    }
}

#[cfg(test)]
mod tests {
    use arrow_flight::decode::FlightRecordBatchStream;
    use datafusion::arrow::array::{
        AsArray, DictionaryArray, Int32Array, ListBuilder, StringViewArray, StringViewBuilder,
    };
    use datafusion::arrow::compute::concat_batches;
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;
    use crate::session::answer::rows;

    #[tokio::test]
    async fn rows_are_compressed_if_a_client_asks_for_it() {
        let column: ArrayRef = Arc::new(Int32Array::from(vec![7; 100_000]));
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let schema = wire_schema(&batch.schema());
        let mut sizes = vec![];
        for (_, compression) in COMPRESSIONS {
            let options = WireOptions {
                compression,
                ..WireOptions::default()
            };
            let messages = encoded(Arc::clone(&schema), rows(batch.clone()), options).unwrap();
            let messages: Vec<FlightData> = messages.try_collect().await.unwrap();
            sizes.push(
                messages
                    .iter()
                    .map(|message| message.data_body.len())
                    .sum::<usize>(),
            );
            let messages = futures::stream::iter(messages.into_iter().map(Ok));
            let read = FlightRecordBatchStream::new_from_flight_data(messages);
            let read: Vec<RecordBatch> = read.try_collect().await.unwrap();
            assert_eq!(
                concat_batches(&schema, &read).unwrap().columns(),
                batch.columns()
            );
        }
        assert!(sizes[0] >= 400_000, "{sizes:?}");
        assert!(sizes[1..].iter().all(|size| *size < 10_000), "{sizes:?}");
    }

    #[test]
    fn types_that_some_clients_lack_are_replaced_wherever_they_are() {
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        lists.append_value([Some("a"), None]);
        let dictionary: DictionaryArray<Int32Type> = ["x"].into_iter().collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("view", Arc::new(StringViewArray::from(vec!["v"]))),
            ("list", Arc::new(lists.finish())),
            ("dictionary", Arc::new(dictionary)),
            (
                "half",
                cast(&Int32Array::from(vec![2]), &DataType::Float16).unwrap(),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let schema = wire_schema(&batch.schema());
        let types: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| field.data_type().to_string())
            .collect();
        assert_eq!(types, ["Utf8", "List(Utf8)", "Utf8", "Float32"]);
        let batch = wire_batch(&batch, &schema).unwrap();
        assert_eq!(batch.column(0).as_string::<i32>().value(0), "v");
        assert!(schema.fields().iter().all(|field| field.is_nullable()));
    }
}
