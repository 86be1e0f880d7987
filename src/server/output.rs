//! The encoding of replies as Flight messages: batches and schemas, message size, compression.

use std::sync::Arc;

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::ipc::CompressionType;
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt, TryStreamExt};
use prost::bytes::Bytes;
use tonic::Status;

use super::status::{failed, status};
use super::wire::wire_batch;
use crate::error::SqlState;

/// The target size of a message; a message with a single row can be larger.
const MESSAGE_BYTES: usize = 2 << 20;
/// The default message limit of Go clients and of the Python clients built on them.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The options for sending the rows of results.
#[derive(Debug, Clone, Copy)]
pub(super) struct WireOptions {
    pub(super) message_bytes_max: usize,
    /// No compression unless a client asks for it: JDBC cannot read compressed batches.
    pub(super) compression: Option<CompressionType>,
}

impl Default for WireOptions {
    fn default() -> Self {
        Self {
            // A client's limit also counts the bytes around the rows.
            message_bytes_max: MESSAGE_BYTES_MAX - (64 << 10),
            compression: None,
        }
    }
}

/// The names of compressions in session options.
pub(super) const COMPRESSIONS: [(&str, Option<CompressionType>); 3] = [
    ("none", None),
    ("lz4", Some(CompressionType::LZ4_FRAME)),
    ("zstd", Some(CompressionType::ZSTD)),
];

/// Encodes batches as messages; the schema comes first, also when there are no rows.
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
        "a row of the result has {bytes} bytes, more than the limit of {max}; select fewer or shorter columns, or raise \
         the session option max_message_bytes together with the limit of the client, which for ADBC is \
         adbc.flight.sql.client_option.with_max_msg_size"
    );
    failed(SqlState::OutOfMemory, message)
}

/// Encodes one batch as messages.
pub(super) fn one_batch(
    batch: RecordBatch,
) -> impl Stream<Item = Result<FlightData, Status>> + Send {
    FlightDataEncoderBuilder::new()
        .with_schema(batch.schema())
        .build(futures::stream::once(async { Ok(batch) }))
        .map_err(Status::from)
}

/// Encodes a schema as an IPC message.
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
    use datafusion::arrow::array::{ArrayRef, Int32Array};
    use datafusion::arrow::compute::concat_batches;

    use super::super::wire::wire_schema;
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
}
